"""Virtual time: coroutines that yield how long they sleep, run one at a time in the order of their clocks.

No thread, no event loop, no real clock; every random choice comes from one seeded generator. So the same seed gives the
same interleaving, and an hour costs as much as what happens in it.
"""

import heapq
import random
import types
from collections.abc import Coroutine, Generator
from typing import Any

FOREVER = 1e12


@types.coroutine
def sleep(seconds: float) -> Generator[float, None, None]:
    """Lets others run for `seconds` of virtual time, or until somebody wakes the task."""
    yield seconds


class Task:
    """A coroutine that the scheduler drives."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self.coroutine = coroutine
        self.name = name
        self.turn = 0
        """Number of the entry in the schedule that counts; older ones were overtaken by a wake-up."""
        self.is_done = False


class Scheduler:
    """The clock and the tasks of one world."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self._heap: list[tuple[float, int, int, Task]] = []
        self._num_entries = 0
        self._current: Task | None = None

    @property
    def current(self) -> Task:
        """The task that runs."""
        assert self._current is not None, "asked by a task"
        return self._current

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str, delay: float = 0.0) -> Task:
        """Starts a task after `delay`."""
        task = Task(coroutine, name)
        self._push(task, delay)
        return task

    def wake(self, task: Task, delay: float = 0.0) -> None:
        """Ends a task's sleep after `delay`."""
        if not task.is_done:
            self._push(task, delay)

    def kill(self, task: Task) -> None:
        """Ends a task where it stands; it may not be the one that runs."""
        task.is_done = True
        task.coroutine.close()

    def run(self, until: float) -> None:
        """Runs everything that is due before `until`; what a task raises ends the run."""
        while self._heap and self._heap[0][0] < until:
            time, _, turn, task = heapq.heappop(self._heap)
            if task.is_done or turn != task.turn:
                continue
            self.now = time
            self._current = task
            try:
                seconds = task.coroutine.send(None)
            except StopIteration:
                task.is_done = True
            else:
                self._push(task, seconds)
        self.now = max(self.now, until)

    def close(self) -> None:
        """Ends every task."""
        while self._heap:
            self.kill(heapq.heappop(self._heap)[3])

    def _push(self, task: Task, delay: float) -> None:
        task.turn += 1
        self._num_entries += 1
        heapq.heappush(self._heap, (self.now + delay, self._num_entries, task.turn, task))
