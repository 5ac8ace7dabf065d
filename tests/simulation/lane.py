"""The lane of one simulated coordinator: what `coordinator/lane.py` does, in virtual time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordinator.batch import Busy, Outcome, carry_out
from coordinator.calls import Call
from coordinator.terms import Terms
from luthier.errors import LuthierError
from tests.simulation.faults import CoordinatorDiedError
from tests.simulation.scheduler import FOREVER, Task, sleep

if TYPE_CHECKING:
    from tests.simulation.world import World

MAX_BATCH = 3


@dataclass
class _Waiting:
    call: Call
    task: Task
    outcome: Outcome | CoordinatorDiedError | None = None


class Lane:
    """A `Carrier`. When its coordinator dies, everybody who waits in it hears nothing."""

    def __init__(self, world: "World", terms: Terms) -> None:
        self._world = world
        self._terms = terms
        self._waiting: list[_Waiting] = []
        self._is_under_way = False

    async def carry_out(self, call: Call) -> Any:
        """The answer to `call`."""
        one = _Waiting(call, self._world.scheduler.current)
        self._waiting.append(one)
        if not self._is_under_way:
            self._is_under_way = True
            self._world.scheduler.spawn(self._run(), "lane")
        while one.outcome is None:
            await sleep(FOREVER)
        if isinstance(one.outcome, LuthierError | CoordinatorDiedError):
            raise one.outcome
        return one.outcome

    async def _run(self) -> None:
        while self._waiting:
            if not self._world.is_quiet:  # the transaction before this one takes its time, and others come meanwhile
                await sleep(self._world.random.choice((0.0, 0.0, 3.0)))
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if len(batch) > 1:
                self._world.note("lane", f"{len(batch)} together")
            if not await self._carry_out(batch):
                for one in self._waiting:
                    self._settle(one, CoordinatorDiedError())
                self._waiting = []
        self._is_under_way = False

    async def _carry_out(self, batch: list[_Waiting], *, waits: bool = False) -> bool:
        try:
            outcomes = await carry_out(self._world.store, [one.call for one in batch], self._terms, waits=waits)
        except CoordinatorDiedError as error:
            for one in batch:
                self._settle(one, error)
            return False
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Busy):
                self._world.scheduler.spawn(self._alone(one), "lane")
            else:
                self._settle(one, outcome)
        return True

    async def _alone(self, one: _Waiting) -> None:
        await self._carry_out([one], waits=True)

    def _settle(self, one: _Waiting, outcome: Outcome | CoordinatorDiedError) -> None:
        one.outcome = outcome
        self._world.scheduler.wake(one.task)
