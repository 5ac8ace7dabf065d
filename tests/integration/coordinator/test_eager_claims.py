"""The stage that outputs make ready goes to the worker that brought them, in the same transaction, or waits as ever."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from coordinator.commands.ends import complete_stage
from coordinator.commands.jobs import pause_job
from coordinator.commands.workers import heartbeat, register_worker
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from luthier.errors import ConflictError
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import CompleteStageResponse

OUTPUTS = StageOutputs(result_json="{}", gate_passed=True)


async def complete(play: Any, stage: Any, worker_id: str = "w", request_id: str = "next") -> CompleteStageResponse:
    """Completes an attempt and asks for the next one."""
    return await complete_stage(play.lane, stage.stage_id, stage.fence, OUTPUTS, worker_id, request_id)


async def test_a_job_runs_from_end_to_end_on_one_wake_up(play: Any) -> None:
    job = await play.create_job(deploy={})
    assignment = await play.claim(job.stages[0].stage_id)
    fences = []
    while assignment.stage.stage_id:
        fences.append(assignment.stage.fence)
        assert (await play.row(assignment.stage.stage_id)).lease_until is not None
        assignment = (await complete(play, assignment.stage, request_id=f"after-{len(fences)}")).next
    assert fences == sorted(fences)
    assert len(fences) == len(job.stages)
    assert await play.wake_ups() == 1
    facts = await play.facts()
    assert facts.count("stage_queued") == facts.count("stage_started") == len(job.stages)
    assert facts.index("stage_succeeded") < facts.index("stage_started", facts.index("stage_succeeded"))
    assert facts[-1] == "job_succeeded"


async def test_what_was_made_ready_is_an_input_of_what_comes_next(play: Any) -> None:
    assignment = await play.claim((await play.create_job()).stages[0].stage_id)
    following = (await complete(play, assignment.stage)).next
    assert following.inputs[assignment.stage.name] == OUTPUTS
    assert following.output_uri.endswith(f"/{following.stage.name}/1-{following.stage.fence}")


async def test_after_a_lost_reply_the_repeat_carries_the_same_assignment(play: Any) -> None:
    stage = (await play.claim((await play.create_job()).stages[0].stage_id)).stage
    answers = await asyncio.gather(*(complete(play, stage) for _ in range(8)))
    assert answers[0].HasField("next")
    assert all(answer == answers[0] for answer in answers)
    assert (await play.facts()).count("stage_started") == 2


async def test_a_repeat_that_comes_when_the_next_attempt_is_over_gets_none(play: Any) -> None:
    stage = (await play.claim((await play.create_job()).stages[0].stage_id)).stage
    following = (await complete(play, stage)).next.stage
    await play.fail(following, FailureClass.FAILURE_CLASS_PREEMPTED)
    assert not (await complete(play, stage)).HasField("next")
    assert (await play.row(following.stage_id)).state is StageState.QUEUED


async def test_a_repeat_claims_nothing_that_the_first_call_did_not(play: Any) -> None:
    stage = (await play.claim((await play.create_job()).stages[0].stage_id)).stage
    await play.complete(stage)
    assert not (await complete(play, stage)).HasField("next")
    assert await play.wake_ups() == 2


async def test_a_stale_fence_gets_nothing(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    first = (await play.claim(stage_id)).stage
    await play.shift(stage_id, lease_until=timedelta(hours=-1))
    await play.reconciler.step()
    await play.claim(stage_id)
    with pytest.raises(ConflictError, match="stale"):
        await complete(play, first)
    assert (await play.facts()).count("stage_started") == 2


async def test_in_a_paused_job_the_next_stage_is_held_back(play: Any) -> None:
    job = await play.create_job()
    stage = (await play.claim(job.stages[0].stage_id)).stage
    await pause_job(play.store, "default", job.job_id)
    assert not (await complete(play, stage)).HasField("next")
    assert (await play.row(job.stages[1].stage_id)).state is StageState.PAUSED
    job = await pause_job(play.store, "default", job.job_id)
    assert job.state == job.State.Value(f"STATE_{JobState.PAUSED}")


async def test_a_draining_worker_gets_none(play: Any) -> None:
    stage = (await play.claim((await play.create_job()).stages[0].stage_id)).stage
    await heartbeat(play.store, "w", True, [], timedelta(seconds=30))
    assert not (await complete(play, stage)).HasField("next")
    assert await play.wake_ups() == 2


async def test_a_worker_that_cannot_run_the_next_stage_gets_none(play: Any) -> None:
    await register_worker(
        play.store, "narrow", "here", WorkerCapabilities(worker_classes=["cpu"], kinds=["preprocess"])
    )
    stage = (await play.claim((await play.create_job()).stages[0].stage_id, "narrow")).stage
    assert not (await complete(play, stage, "narrow")).HasField("next")
    assert await play.wake_ups() == 2


async def test_a_worker_that_was_in_quarantine_asks_by_a_claim(play: Any) -> None:
    jobs = [await play.create_job() for _ in range(4)]
    last = (await play.claim(jobs[3].stages[0].stage_id)).stage
    for job in jobs[:3]:
        stage = (await play.claim(job.stages[0].stage_id)).stage
        await play.fail(stage, FailureClass.FAILURE_CLASS_INTERNAL)
    assert not (await complete(play, last)).HasField("next")
    assert (await play.worker("w")).quarantined_until is None
    assert await play.claim(jobs[3].stages[1].stage_id) is not None
