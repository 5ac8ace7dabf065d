"""Counts finished rows of a stage that goes through rows: progress, time left, and the wish to stop."""

import time
from collections.abc import Callable

from workers.failures import PreemptedError
from workers.task import Report


class Steps:
    """Rows done out of `num_steps`; the time left is estimated from the pace so far."""

    def __init__(self, report: Report, num_steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._num_steps = num_steps
        self._clock = clock
        self._done = 0
        self._started = clock()

    def advance(self, num_rows: int, message: str) -> None:
        """`num_rows` more are done; `message` says with what.

        Raises:
            PreemptedError: the worker drains. What was done is done again by the next attempt.
        """
        self._done += num_rows
        elapsed = self._clock() - self._started
        eta = elapsed / self._done * (self._num_steps - self._done) if self._done else None
        self._report.progress(self._done, self._num_steps, message, eta)
        if self._report.should_stop():
            raise PreemptedError(f"stopped after {self._done} of {self._num_steps} rows: the worker drains")
