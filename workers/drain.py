"""The wish that this worker leave, as a person or an orchestrator expresses it by signals."""

import asyncio
import logging

_log = logging.getLogger(__name__)


class Drain:
    """Set by the first signal; the second one asks for haste."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        """Take nothing new; let the running stage stop at a checkpoint."""
        self.at_once = asyncio.Event()
        """Wait for nothing."""

    def signal(self) -> None:
        """A SIGTERM or SIGINT came."""
        if self.requested.is_set():
            _log.warning("leaving at once")
            self.at_once.set()
        else:
            _log.info("leaving: no new stages, the running one stops at its next checkpoint")
            self.requested.set()
