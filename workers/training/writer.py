"""One background thread that commits checkpoints, so that a step waits for a copy and not for a disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Writer:
    """Runs one commit at a time. What a commit raises comes out of the next call of `submit`, `check` or `wait`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._running: Future[None] | None = None

    def submit(self, commit: Callable[[], None]) -> None:
        """Starts `commit` once the one before is done."""
        self.wait()
        self._running = self._pool.submit(commit)

    def check(self) -> None:
        """Raises what a finished commit raised; never waits."""
        if self._running is not None and self._running.done():
            self.wait()

    def wait(self) -> None:
        """Returns once nothing is being committed."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> BaseException | None:
        """Waits, ends the thread, and returns what the last commit raised unless it has come out already."""
        self._pool.shutdown()
        return self._running.exception() if self._running is not None else None
