"""What can arrive more than once arrives three times and shuffled: the rows are equal to those of one time."""

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from coordinator.commands.claims import claim_stage
from coordinator.commands.ends import complete_stage, fail_stage
from coordinator.commands.jobs import accept_job
from coordinator.commands.reports import report_stage
from coordinator.commands.workers import heartbeat, register_worker
from coordinator.lane import Lane
from luthier.errors import ConflictError
from luthier.v1.event_pb2 import StageReady
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Artifact, Checkpoint, MetricPoint, StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import StageAssignment, StageHeartbeat
from tests.simulation.actors import SPECS
from tests.simulation.memory_store import PROJECT, START, MemoryStore
from tests.simulation.simulate import KINDS
from tests.simulation.world import TERMS

Message = Callable[[], Awaitable[Any]]


class Play:
    """Delivers wake-ups and a worker's calls, each `num_times`; the repeats come at any later time."""

    def __init__(self, num_times: int, seed: int) -> None:
        self.store = MemoryStore(lambda: START, _at_once, lambda seconds: _at_once())
        self.lane = Lane(self.store, TERMS)
        self.random = random.Random(seed)
        self.num_times = num_times
        self.repeats: list[Message] = []
        self.num_refused = 0

    async def run(self) -> dict[str, Any]:
        """Two jobs from their beginning to their end; every row that is left."""
        capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=sorted(KINDS))
        await register_worker(self.store, "w", "here", capabilities)
        for number in range(2):
            await accept_job(self.store, PROJECT, SPECS[1], f"request-{number}", "")
        while ready := [row for row in self.store.tables.outbox.values() if row.published_time is None]:
            for row in ready:
                row.published_time = START
                if row.sequence is None:
                    await self.wake_up(StageReady.FromString(row.payload).stage_id)
        while self.repeats:
            await self.repeat()
        return self.store.tables.dump()

    async def wake_up(self, stage_id: str) -> None:
        """A worker claims and runs the stage; its first try makes way, the second one succeeds."""
        number = self.store.tables.stage[stage_id].attempt
        reply = await self.deliver(partial(claim_stage, self.lane, stage_id, "w", f"{stage_id}-{number}"))
        if not reply.HasField("assignment"):
            return
        stage = reply.assignment.stage
        pulse = StageHeartbeat(stage_id=stage_id, fence=stage.fence)
        await self.deliver(partial(heartbeat, self.store, "w", False, [pulse], TERMS.lease))
        for step in (1, 2, 3):
            point = MetricPoint(step=step, values={"loss": 1.0 / step})
            checkpoint = Checkpoint(uri=f"{reply.assignment.output_uri}/{step}", digest="sha256:00", step=step)
            retired = [f"{reply.assignment.output_uri}/{step - 2}"]
            await self.deliver(partial(report_stage, self.store, stage_id, stage.fence, [point], [checkpoint], retired))
        if stage.attempt == 1 and stage.kind == "train":
            failure = Failure(failure_class=FailureClass.FAILURE_CLASS_PREEMPTED, message="drained")
            await self.deliver(partial(fail_stage, self.lane, stage_id, stage.fence, failure))
        else:
            outputs = outputs_of(reply.assignment)
            await self.deliver(partial(complete_stage, self.lane, stage_id, stage.fence, outputs))

    async def deliver(self, message: Message) -> Any:
        """The first time now; some of the repeats that are due, too."""
        result = await message()
        self.repeats += [message] * (self.num_times - 1)
        while self.repeats and self.random.random() < 0.5:
            await self.repeat()
        return result

    async def repeat(self) -> None:
        """One of the messages that were handled before. A stale fence is refused, and that is all."""
        message = self.repeats.pop(self.random.randrange(len(self.repeats)))
        try:
            await message()
        except ConflictError:
            self.num_refused += 1


@pytest.mark.parametrize("seed", range(20))
async def test_three_deliveries_in_any_order_leave_the_rows_of_one(seed: int) -> None:
    once, thrice = Play(1, seed), Play(3, seed)
    expected, found = await once.run(), await thrice.run()
    assert thrice.num_refused > 0
    assert {row["state"] for row in expected["stage"].values()} == {"SUCCEEDED"}
    assert found == expected


def outputs_of(assignment: StageAssignment) -> StageOutputs:
    """What the attempt leaves."""
    artifact = Artifact(uri=assignment.output_uri, digest="sha256:00", num_bytes=1)
    return StageOutputs(artifact=artifact, metrics={"score": 0.5}, result_json="{}", gate_passed=True)


async def _at_once() -> None:
    """No virtual time passes."""
