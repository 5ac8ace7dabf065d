"""The face of a place."""

from collections.abc import Callable
from typing import Protocol

from workers.data.places.listing import Listing
from workers.data.places.remote import Remote

CheckReadable = Callable[[str, str], None]
"""`(path, what it is for)`; raises ConfigError for a path outside the places that may be read."""


class Place(Protocol):
    """Lists the files behind a path."""

    def __call__(self, path: str, key: str, check_readable: CheckReadable, remote: Remote) -> Listing:
        """`key` is where the job file has `path`. Raises ConfigError, DataError or DependencyError."""
