"""Ownership on a real database: one winner, rising fences, stale reports refused."""

import asyncio
import random
from datetime import timedelta
from typing import Any

import pytest

from coordinator.commands.claims import claim_stage
from coordinator.commands.ends import complete_stage
from coordinator.commands.reports import report_stage
from coordinator.commands.workers import heartbeat, register_worker
from coordinator.lifecycle import StageState
from coordinator.store.engine import Database
from coordinator.terms import Terms
from luthier.errors import ConflictError
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.stage_pb2 import MetricPoint, StageOutputs
from luthier.v1.worker_service_pb2 import StageHeartbeat, StageVerdict

TERMS = Terms(lease=timedelta(seconds=30), quarantine=timedelta(seconds=60), artifacts="/a")


async def test_of_many_claimers_at_once_exactly_one_wins(play: Any, postgres_url: str) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    other = Database(postgres_url)
    claims = await asyncio.gather(*(play.claim(stage_id, database=(play.database, other)[i % 2]) for i in range(40)))
    await other.close()
    won = [claim for claim in claims if claim is not None]
    assert len(won) == 1
    assert won[0].stage.attempt == 1
    assert (await play.facts()).count("stage_started") == 1


async def test_a_repeated_claim_in_flight_gets_one_assignment(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    claims = await asyncio.gather(*(claim_stage(play.lane, stage_id, "w", "same") for _ in range(8)))
    assert all(claim == claims[0] and claim.HasField("assignment") for claim in claims)
    assert (await play.facts()).count("stage_started") == 1


async def test_fences_rise_over_attempts_and_a_stale_one_is_refused_everywhere(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    first = (await play.claim(stage_id)).stage
    await play.shift(stage_id, lease_until=timedelta(hours=-1))
    assert await play.reconciler.step() == 1
    second = (await play.claim(stage_id)).stage
    assert second.fence > first.fence
    assert second.attempt == 2
    with pytest.raises(ConflictError, match="stale"):
        await play.complete(first)
    with pytest.raises(ConflictError, match="stale"):
        await play.fail(first, FailureClass.FAILURE_CLASS_INTERNAL)
    points = [MetricPoint(step=1, values={"loss": 1.0})]
    with pytest.raises(ConflictError, match="stale"):
        await report_stage(play.store, stage_id, first.fence, points, [])
    pulse = StageHeartbeat(stage_id=stage_id, fence=first.fence)
    (verdict,) = await heartbeat(play.store, "w", False, [pulse], TERMS.lease)
    assert verdict.verdict == StageVerdict.VERDICT_LOST_LEASE
    assert (await play.row(stage_id)).fence == second.fence


async def test_the_same_completion_from_many_retries_is_recorded_once(play: Any) -> None:
    stage = (await play.claim((await play.create_job()).stages[0].stage_id)).stage
    replies = await asyncio.gather(*(play.complete(stage) for _ in range(10)))
    assert all(reply == replies[0] for reply in replies)
    facts = await play.facts()
    assert facts.count("stage_succeeded") == 1
    assert facts.count("stage_queued") == 2


async def test_of_two_different_completions_at_once_one_is_refused(play: Any) -> None:
    stage = (await play.claim((await play.create_job()).stages[0].stage_id)).stage
    outputs = [StageOutputs(metrics={"loss": value}, gate_passed=True) for value in (1.0, 2.0)]
    rivals = (complete_stage(play.lane, stage.stage_id, stage.fence, one) for one in outputs)
    results = await asyncio.gather(*rivals, return_exceptions=True)
    assert sum(isinstance(result, ConflictError) for result in results) == 1


async def test_wake_ups_that_come_thrice_and_shuffled_change_nothing(play: Any) -> None:
    jobs = [await play.create_job() for _ in range(4)]
    wake_ups = [job.stages[0].stage_id for job in jobs] * 3
    random.Random(0).shuffle(wake_ups)
    claims = [await play.claim(stage_id) for stage_id in wake_ups]
    for claim in claims:
        if claim is not None:
            await play.complete(claim.stage)
    late = [await play.claim(stage_id) for stage_id in wake_ups]
    assert sum(claim is not None for claim in claims) == len(jobs)
    assert late == [None] * len(late)
    assert {(await play.row(job.stages[0].stage_id)).attempt for job in jobs} == {1}


async def test_a_resting_stage_is_not_to_be_had_before_its_back_off_is_over(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    stage = (await play.claim(stage_id)).stage
    await play.fail(stage, FailureClass.FAILURE_CLASS_UNAVAILABLE)
    assert await play.claim(stage_id) is None
    assert await play.wake_ups() == 1
    back = timedelta(seconds=-60)
    await play.shift(stage_id, claimable_time=back, wake_time=back)
    assert (await play.claim(stage_id)).stage.attempt == 2


async def test_a_late_repeat_of_a_claim_starts_nothing(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    first = await claim_stage(play.lane, stage_id, "w", "claim")
    await play.fail(first.assignment.stage, FailureClass.FAILURE_CLASS_PREEMPTED)
    late = await claim_stage(play.lane, stage_id, "w", "claim")
    assert not late.HasField("assignment")
    assert (await play.row(stage_id)).state is StageState.QUEUED


async def test_no_two_transactions_wait_for_each_other(play: Any, postgres_url: str) -> None:
    """Ends of attempts lock a job and then a worker, heartbeats lock each alone: all at once, from two coordinators."""
    other = Database(postgres_url)
    plays = [play, type(play)(other)]
    stages = [(await play.create_job()).stages[0].stage_id for _ in range(8)]

    async def work(number: int) -> None:
        one, worker_id = plays[number % 2], f"w-{number % 3}"
        stage = (await one.claim(stages[number], worker_id)).stage
        pulse = StageHeartbeat(stage_id=stage.stage_id, fence=stage.fence)
        await asyncio.gather(
            *(heartbeat(one.store, worker_id, False, [pulse], TERMS.lease) for _ in range(4)),
            report_stage(one.store, stage.stage_id, stage.fence, [MetricPoint(step=1, values={"loss": 1.0})], []),
            one.reconciler.step(),
        )
        if number % 2:
            await one.complete(stage)
        else:
            await one.fail(stage, FailureClass.FAILURE_CLASS_INTERNAL)
        await heartbeat(one.store, worker_id, False, [], TERMS.lease)

    for number in range(3):
        await register_worker(play.store, f"w-{number}", "here", (await play.worker("w")).capabilities)
    await asyncio.gather(*(work(number) for number in range(len(stages))))
    await other.close()
    states = [(await play.row(stage_id)).state for stage_id in stages]
    assert states == [StageState.QUEUED, StageState.SUCCEEDED] * 4
