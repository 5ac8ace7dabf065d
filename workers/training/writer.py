"""One background thread that writes checkpoints, so that a step waits for a copy and not for a disk."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Writer(Generic[Result]):
    """Does one task at a time. What it raises comes out of the next call of `submit`, `check` or `wait`."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._running: Future[Result] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a task is not done yet."""
        return self._running is not None and not self._running.done()

    def submit(self, task: Callable[[], Result]) -> None:
        """Starts `task` once the one before is done."""
        self.wait()
        self._running = self._pool.submit(task)

    def check(self) -> None:
        """Raises what a finished task raised; never waits."""
        if self._running is not None and self._running.done() and self._running.exception() is not None:
            self.wait()

    def wait(self) -> Result | None:
        """Returns once nothing is being done: what the last task came to, unless that was returned already."""
        running, self._running = self._running, None
        return None if running is None else running.result()

    def close(self) -> BaseException | None:
        """Waits, ends the thread, and returns what the last task raised unless it has come out already."""
        self._pool.shutdown()
        return self._running.exception() if self._running is not None else None
