"""Calls that are carried out together: one transaction for many, and each of them answered as if it had been alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from coordinator import lane
from coordinator.batch import Busy, Outcome, carry_out
from coordinator.calls import Call, Claim, Complete, Fail
from coordinator.commands.claims import claim_stage
from coordinator.job_store import JobStore
from coordinator.lifecycle import StageState
from coordinator.terms import Terms
from luthier.errors import ConflictError, InvalidRequestError, NotFoundError
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import StageOutputs

OUTPUTS = StageOutputs(result_json="{}", gate_passed=True)
GPU = {"resources": {"worker_class": "gpu"}}
BROKEN = Failure(failure_class=FailureClass.FAILURE_CLASS_INTERNAL, message="broken")


@pytest.fixture
def terms(play: Any) -> Terms:
    return play.terms


async def test_one_that_is_refused_spoils_nothing(play: Any, terms: Terms) -> None:
    jobs = [await play.create_job() for _ in range(4)]
    first = [job.stages[0].stage_id for job in jobs]
    held = [(await play.claim(stage_id)).stage for stage_id in first[:3]]
    calls: list[Call] = [
        Complete(held[0].stage_id, held[0].fence + 1000, OUTPUTS),
        Complete(held[1].stage_id, held[1].fence, OUTPUTS, "w", "next"),
        Fail(held[2].stage_id, held[2].fence, BROKEN),
        Claim(first[3], "w", "claim"),
        Claim(first[3], "w", "too late"),
        Claim("nobody", "w", "claim"),
        Claim(first[3], "nobody", "claim"),
        Claim(jobs[0].stages[1].stage_id, "w", "not ready"),
    ]
    outcomes = await carry_out(play.store, calls, terms)
    stale, completed, failed, won, late, no_stage, no_worker, not_ready = outcomes
    assert isinstance(stale, ConflictError)
    assert isinstance(no_stage, NotFoundError)
    assert isinstance(no_worker, NotFoundError)
    assert completed.next.stage.stage_id == jobs[1].stages[1].stage_id
    assert failed.stage.state == failed.stage.STATE_QUEUED
    assert won.assignment.stage.stage_id == first[3]
    assert not late.HasField("assignment")
    assert not not_ready.HasField("assignment")
    assert [(await play.row(stage_id)).state for stage_id in first] == [
        StageState.RUNNING,
        StageState.SUCCEEDED,
        StageState.QUEUED,
        StageState.RUNNING,
    ]
    sequences = [event.sequence for event in await play.events()]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_a_job_that_somebody_works_on_does_not_hold_up_the_others(play: Any, terms: Terms) -> None:
    jobs = [await play.create_job() for _ in range(2)]
    calls = [Claim(job.stages[0].stage_id, "w", f"claim of {job.job_id}") for job in jobs]
    async with play.store.transaction() as transaction:
        await transaction.lock_jobs([jobs[0].job_id])
        locked, free = await carry_out(play.store, calls, terms)
        assert isinstance(locked, Busy)
        assert free.HasField("assignment")
        slow = [asyncio.create_task(play.lane.carry_out(call)) for call in calls]
        assert (await slow[1]) == free
        assert not slow[0].done()
    assert (await slow[0]).HasField("assignment")


async def test_what_waits_is_carried_out_together(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    async def counting(store: JobStore, calls: Sequence[Call], terms: Terms, waits: bool) -> list[Outcome]:
        sizes.append(len(calls))
        return await carry_out(store, calls, terms, waits=waits)

    monkeypatch.setattr(lane, "carry_out", counting)
    stage_ids = [(await play.create_job()).stages[0].stage_id for _ in range(9)]
    replies = await asyncio.gather(*(claim_stage(play.lane, stage_id, "w", "claim") for stage_id in stage_ids))
    assert [reply.assignment.stage.stage_id for reply in replies] == stage_ids
    assert sizes == [1, 8]
    assert len({reply.assignment.stage.fence for reply in replies}) == len(stage_ids)


async def test_one_that_breaks_the_transaction_breaks_its_own_only(play: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await play.create_job() for _ in range(4)]
    stages = [(await play.claim(job.stages[0].stage_id)).stage for job in jobs]
    bad = replace(Complete(stages[2].stage_id, stages[2].fence, OUTPUTS), outputs=StageOutputs(result_json="\x00"))
    calls = [Complete(stage.stage_id, stage.fence, OUTPUTS) for stage in stages]
    calls[2] = bad
    results = await asyncio.gather(*map(play.lane.carry_out, calls), return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [False, False, True, False]
    states = [(await play.row(stage.stage_id)).state for stage in stages]
    assert states == [StageState.SUCCEEDED, StageState.SUCCEEDED, StageState.RUNNING, StageState.SUCCEEDED]


async def test_a_caller_that_leaves_stops_nothing(play: Any) -> None:
    stage_ids = [(await play.create_job()).stages[0].stage_id for _ in range(3)]
    tasks = [asyncio.create_task(claim_stage(play.lane, stage_id, "w", "claim")) for stage_id in stage_ids]
    await asyncio.sleep(0)
    tasks[0].cancel()
    tasks[1].cancel()
    assert (await tasks[2]).HasField("assignment")
    assert [(await play.row(stage_id)).attempt for stage_id in stage_ids] == [1, 1, 1]


async def test_a_worker_is_told_what_it_cannot_run(play: Any, terms: Terms) -> None:
    (refused,) = await carry_out(
        play.store, [Claim((await play.create_job(**GPU)).stages[1].stage_id, "w", "c")], terms
    )
    assert isinstance(refused, InvalidRequestError)
