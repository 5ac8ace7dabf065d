"""What an installation grants its workers; from the settings, the same for every coordinator."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Terms:
    """Read once when a coordinator starts."""

    lease: timedelta
    """How long an attempt lives without a heartbeat."""
    quarantine: timedelta
    """How long a worker gets nothing after its third failure in a row; doubles with every further one."""
    artifacts: str
    """fsspec URI below which attempts write."""
    gang_wait: timedelta = timedelta(seconds=30)
    """How long the workers of a gang wait for those that are missing."""
