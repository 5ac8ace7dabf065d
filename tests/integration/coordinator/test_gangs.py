"""Seats in PostgreSQL: claimed like stages, renewed by heartbeats, given up, and gone with the attempt."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from coordinator.commands.claims import claim_stage
from coordinator.commands.ends import complete_stage
from coordinator.commands.gangs import leave_gang
from coordinator.commands.workers import heartbeat, register_worker
from coordinator.lifecycle import StageState
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import GangPlace, StageAssignment, StageHeartbeat, StageVerdict

LEASE = timedelta(seconds=30)
OUTPUTS = StageOutputs(result_json="{}", gate_passed=True)


@pytest.fixture
async def lead(play: Any) -> Callable[..., Awaitable[StageAssignment]]:
    """Has `w` lead the training of a new job; `b` and `c` could help."""
    for worker_id in ("b", "c"):
        capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=["preprocess", "train"])
        await register_worker(play.store, worker_id, "here", capabilities)

    async def begin(**resources: Any) -> StageAssignment:
        job = await play.create_job(resources=resources)
        stage = (await play.claim(job.stages[0].stage_id)).stage
        done = await complete_stage(play.lane, stage.stage_id, stage.fence, OUTPUTS, "w", f"next of {stage.stage_id}")
        return done.next

    return begin


async def beat(play: Any, worker_id: str, assignment: StageAssignment, address: str = "") -> StageVerdict:
    """One heartbeat of a worker that takes part."""
    stage = assignment.stage
    pulse = StageHeartbeat(stage_id=stage.stage_id, fence=stage.fence, address=address)
    [verdict] = await heartbeat(play.store, worker_id, False, [pulse], LEASE)
    return verdict


async def leave(play: Any, worker_id: str, assignment: StageAssignment, how: FailureClass | None = None) -> None:
    stage = assignment.stage
    failure = None if how is None else Failure(failure_class=how, message="broken")
    await leave_gang(play.store, play.terms, stage.stage_id, stage.fence, worker_id, failure)


async def test_a_gang_forms_around_the_worker_that_goes_on_with_the_training(play: Any, lead: Any) -> None:
    assignment = await lead(num_workers=2)
    assert assignment.gang == GangPlace(number=0)
    assert await play.wake_ups() == 2, "for the first stage, and for the free seat"
    assert not (await beat(play, "w", assignment, "h:1")).gang.num_workers
    answers = [await claim_stage(play.lane, assignment.stage.stage_id, "b", "r") for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].assignment.gang == GangPlace(number=1, num_workers=2, address="h:1")
    assert answers[0].assignment.stage.fence == assignment.stage.fence
    assert not (await claim_stage(play.lane, assignment.stage.stage_id, "c", "r")).HasField("assignment")
    assert (await beat(play, "w", assignment)).gang == GangPlace(number=0, num_workers=2, address="h:1")
    verdict = await beat(play, "b", assignment)
    assert (verdict.verdict, verdict.gang.number) == (StageVerdict.VERDICT_OK, 1)
    assert verdict.HasField("lease_until")
    assert (await beat(play, "c", assignment)).verdict == StageVerdict.VERDICT_LOST_LEASE


async def test_the_success_of_the_leader_is_that_of_its_members(play: Any, lead: Any) -> None:
    assignment = await lead(num_workers=2)
    other = await play.create_job()
    failed = (await play.claim(other.stages[0].stage_id, "b")).stage
    await play.fail(failed, FailureClass.FAILURE_CLASS_INTERNAL)
    assert (await play.worker("b")).num_failures_in_row == 1
    await play.claim(assignment.stage.stage_id, "b")
    await leave(play, "b", assignment)
    await play.complete(assignment.stage)
    assert (await play.worker("b")).num_failures_in_row == 0
    row = await play.row(assignment.stage.stage_id)
    assert (row.state, row.gang, row.gang_time) == (StageState.SUCCEEDED, None, None)


async def test_what_a_member_fails_with_ends_the_attempt_once(play: Any, lead: Any) -> None:
    assignment = await lead(num_workers=2)
    await play.claim(assignment.stage.stage_id, "b")
    for _ in range(2):
        await leave(play, "b", assignment, FailureClass.FAILURE_CLASS_OUT_OF_MEMORY)
    row = await play.row(assignment.stage.stage_id)
    assert (row.state, row.num_counted, row.refit, row.avoid_worker_id) == (StageState.QUEUED, 1, 1, "b")
    assert (await play.worker("b")).num_failures_in_row == 1
    assert (await play.worker("w")).num_failures_in_row == 0
    assert (await beat(play, "w", assignment)).verdict == StageVerdict.VERDICT_LOST_LEASE


async def test_a_seat_that_is_given_up_is_offered_again(play: Any, lead: Any) -> None:
    assignment = await lead(num_workers=3)
    num_wake_ups = await play.wake_ups()
    await play.claim(assignment.stage.stage_id, "b")
    await leave(play, "b", assignment, FailureClass.FAILURE_CLASS_PREEMPTED)
    assert await play.wake_ups() == num_wake_ups + 1
    assert (await play.row(assignment.stage.stage_id)).gang.num_free == 2
    assert (await play.claim(assignment.stage.stage_id, "c")).gang.number == 1


async def test_a_worker_in_quarantine_gets_no_seat(play: Any, lead: Any) -> None:
    assignment = await lead(num_workers=2)
    for _ in range(3):
        failed = (await play.claim((await play.create_job()).stages[0].stage_id, "b")).stage
        await play.fail(failed, FailureClass.FAILURE_CLASS_INTERNAL)
    answer = await claim_stage(play.lane, assignment.stage.stage_id, "b", "r")
    assert (answer.HasField("assignment"), answer.try_elsewhere) == (False, True)


async def test_the_reconciler_lets_those_begin_who_are_enough_and_sets_too_few_free(play: Any, lead: Any) -> None:
    assignment = await lead(num_workers=3, min_workers=2)
    too_few = await lead(num_workers=3)
    for one in (assignment, too_few):
        await play.claim(one.stage.stage_id, "b")
        row = await play.row(one.stage.stage_id)
        await play.set_gang(one.stage.stage_id, row.gang, form_until=row.started_time)
    assert await play.reconciler.step() == 2
    assert (await play.row(assignment.stage.stage_id)).gang.is_formed
    row = await play.row(too_few.stage.stage_id)
    assert (row.state, row.num_counted) == (StageState.QUEUED, 0)
    assert row.failure.failure_class == FailureClass.FAILURE_CLASS_GANG_INCOMPLETE
    assert await play.reconciler.step() == 0
