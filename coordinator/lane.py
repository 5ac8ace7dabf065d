"""Gathers calls that arrive while a transaction is under way, and carries them out together in the next one.

A call that finds nothing under way is carried out at once and alone: nobody waits for a batch to fill. A batch that
breaks on one of its calls is taken apart, so that the others do not suffer; one whose database is away is not, because
everybody is told to try again anyway. A call whose job somebody else has locked waits for that by itself. A caller
that leaves stops nothing that has begun.
"""

import asyncio
from collections import deque
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from coordinator.batch import Busy, Outcome, carry_out
from coordinator.calls import Call
from coordinator.job_store import JobStore
from coordinator.store.engine import GIVEN_UP
from coordinator.terms import Terms
from luthier.errors import LuthierError

MAX_BATCH = 64
"""Calls in one transaction: its rows are locked until all of them are written."""


@dataclass
class _Waiting:
    call: Call
    answer: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    context: Context = field(default_factory=copy_context)

    def refuse(self, error: BaseException) -> None:
        """Tells the caller, if it still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Lane:
    """A `Carrier`: one transaction at a time per process."""

    def __init__(self, store: JobStore, terms: Terms) -> None:
        self._store = store
        self._terms = terms
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[list[Outcome]]] = set()
        self._is_under_way = False

    async def carry_out(self, call: Call) -> Any:
        """The answer to `call`; see `Carrier`."""
        waiting = _Waiting(call)
        self._waiting.append(waiting)
        if not self._is_under_way:
            self._go_on()
        return await waiting.answer

    def _go_on(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        self._is_under_way = bool(batch)
        if batch:
            self._spawn(batch, is_turn=True)

    def _spawn(self, batch: list[_Waiting], *, is_turn: bool) -> None:
        """Carries a batch out in the trace of its first call. A turn waits for no job's lock, others wait for it."""
        work = carry_out(self._store, [one.call for one in batch], self._terms, waits=not is_turn)
        task = asyncio.create_task(work, context=batch[0].context)
        self._tasks.add(task)
        task.add_done_callback(partial(self._finish, batch, is_turn))

    def _finish(self, batch: list[_Waiting], is_turn: bool, task: asyncio.Task[list[Outcome]]) -> None:
        """Tells the callers what came of their batch. What it raised is theirs, and map_error knows what it means."""
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            for one, outcome in zip(batch, task.result(), strict=True):
                self._settle(one, outcome)
        elif len(batch) == 1 or isinstance(error, GIVEN_UP):
            for one in batch:
                one.refuse(error)
        else:
            for one in batch:
                self._spawn([one], is_turn=False)
        if is_turn:
            self._go_on()

    def _settle(self, one: _Waiting, outcome: Outcome) -> None:
        if isinstance(outcome, Busy):
            self._spawn([one], is_turn=False)
        elif isinstance(outcome, LuthierError):
            one.refuse(outcome)
        elif not one.answer.done():
            one.answer.set_result(outcome)
