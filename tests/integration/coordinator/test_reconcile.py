"""What time alone changes: expired leases, silent workers, stalled attempts, wake-ups that nobody followed."""

import asyncio
from datetime import timedelta
from typing import Any

from sqlmodel import col, func, select, update

from coordinator.commands.dead_letters import retry_dead_letter
from coordinator.commands.jobs import pause_job, resume_job
from coordinator.commands.workers import heartbeat
from coordinator.lifecycle import StageState
from coordinator.store.tables import DeadLetterRow, DeadLetterSource, OutboxRow, StageRow, WorkerRow, WorkerState
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.stage_pb2 import Progress
from luthier.v1.worker_service_pb2 import StageHeartbeat, StageVerdict

LONG_AGO = timedelta(hours=-1)
LEASE = timedelta(seconds=30)


async def mark_published(play: Any) -> None:
    async with play.database.transaction() as session:
        await session.exec(update(OutboxRow).values(published_time=func.clock_timestamp()))


async def test_an_expired_lease_queues_the_stage_again_with_a_wake_up(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    await play.claim(stage_id)
    await play.shift(stage_id, lease_until=LONG_AGO)
    before = await play.wake_ups()
    assert await play.reconciler.step() == 1
    row = await play.row(stage_id)
    assert row.state is StageState.QUEUED
    assert row.failure is not None
    assert row.failure.failure_class == FailureClass.FAILURE_CLASS_LOST_WORKER
    assert await play.wake_ups() == before + 1
    assert await play.reconciler.step() == 0


async def test_a_worker_that_is_lost_every_time_fails_the_job_in_the_end(play: Any) -> None:
    job = await play.create_job(resources={"max_attempts": 2})
    stage_id = job.stages[0].stage_id
    for _ in range(2):
        await play.claim(stage_id)
        await play.shift(stage_id, lease_until=LONG_AGO)
        await play.reconciler.step()
    assert (await play.row(stage_id)).state is StageState.FAILED
    facts = await play.facts()
    assert facts[-1] == "job_failed"
    assert facts.count("stage_skipped") == 3


async def test_reconcilers_side_by_side_expire_a_lease_once(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    await play.claim(stage_id)
    await play.shift(stage_id, lease_until=LONG_AGO)
    await asyncio.gather(*(play.reconciler.step() for _ in range(6)))
    assert (await play.facts()).count("stage_retried") == 1
    assert (await play.row(stage_id)).num_counted == 1


async def test_heartbeats_without_progress_do_not_save_an_attempt(play: Any) -> None:
    stage_id = (await play.create_job(resources={"progress_timeout_seconds": 60})).stages[0].stage_id
    stage = (await play.claim(stage_id)).stage
    pulse = StageHeartbeat(stage_id=stage_id, fence=stage.fence, progress=Progress(step=3, message="tokenize"))
    for _ in range(2):
        (verdict,) = await heartbeat(play.store, "w", False, [pulse], LEASE)
        assert verdict.verdict == StageVerdict.VERDICT_OK
    moved = (await play.row(stage_id)).progress_time
    await play.shift(stage_id, progress_time=LONG_AGO)
    pulse.progress.eta.FromTimedelta(timedelta(seconds=5))
    await heartbeat(play.store, "w", False, [pulse], LEASE)
    assert (await play.row(stage_id)).progress_time < moved
    assert await play.reconciler.step() == 1
    row = await play.row(stage_id)
    assert row.state is StageState.QUEUED
    assert row.failure.failure_class == FailureClass.FAILURE_CLASS_INTERNAL
    assert row.failure.message.startswith("no progress for 60 s at tokenize 3")
    (verdict,) = await heartbeat(play.store, "w", False, [pulse], LEASE)
    assert verdict.verdict == StageVerdict.VERDICT_LOST_LEASE


async def test_progress_that_moves_keeps_an_attempt(play: Any) -> None:
    stage_id = (await play.create_job(resources={"progress_timeout_seconds": 60})).stages[0].stage_id
    stage = (await play.claim(stage_id)).stage
    await play.shift(stage_id, progress_time=LONG_AGO)
    pulse = StageHeartbeat(stage_id=stage_id, fence=stage.fence, progress=Progress(step=1))
    await heartbeat(play.store, "w", False, [pulse], LEASE)
    assert await play.reconciler.step() == 0


async def test_a_queued_stage_that_nobody_claims_is_announced_again(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    await mark_published(play)
    await play.reconciler.step()
    assert await play.wake_ups() == 1
    await play.shift(stage_id, wake_time=LONG_AGO)
    await play.reconciler.step()
    assert await play.wake_ups() == 2


async def test_wake_ups_do_not_pile_up_while_the_bus_is_away(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    for _ in range(3):
        await play.shift(stage_id, wake_time=LONG_AGO)
        await play.reconciler.step()
    assert await play.wake_ups() == 1


async def test_a_back_off_that_is_over_wakes_the_workers(play: Any) -> None:
    stage_id = (await play.create_job()).stages[0].stage_id
    await play.fail((await play.claim(stage_id)).stage, FailureClass.FAILURE_CLASS_STORAGE_FULL)
    await mark_published(play)
    await play.reconciler.step()
    assert await play.wake_ups() == 1
    await play.shift(stage_id, wake_time=LONG_AGO, claimable_time=LONG_AGO)
    await play.reconciler.step()
    assert await play.wake_ups() == 2
    assert (await play.claim(stage_id)).stage.attempt == 2


async def test_a_job_that_cannot_be_moved_becomes_a_dead_letter_and_stops_nobody(play: Any) -> None:
    jobs = [await play.create_job() for _ in range(3)]
    for job in jobs:
        await play.claim(job.stages[0].stage_id)
        await play.shift(job.stages[0].stage_id, lease_until=LONG_AGO)
    poisoned = col(StageRow.job_id) == jobs[1].job_id
    async with play.database.transaction() as session:
        await session.exec(update(StageRow).where(poisoned).values(needs=["a stage that is not there"]))
    assert await play.reconciler.step() == 3
    states = [(await play.row(job.stages[0].stage_id)).state for job in jobs]
    assert states == [StageState.QUEUED, StageState.RUNNING, StageState.QUEUED]
    async with play.database.transaction() as session:
        (letter,) = (await session.exec(select(DeadLetterRow))).all()
    assert (letter.source, letter.job_id) == (DeadLetterSource.RECONCILER, jobs[1].job_id)
    assert "KeyError" in letter.reason
    assert await play.reconciler.step() == 0

    await retry_dead_letter(play.database, letter.dead_letter_id)
    assert await play.reconciler.step() == 1
    async with play.database.transaction() as session:
        assert len((await session.exec(select(DeadLetterRow))).all()) == 2
        await session.exec(update(StageRow).where(poisoned).values(needs=[]))
        await session.exec(update(DeadLetterRow).values(retry_time=func.clock_timestamp()))
    assert await play.reconciler.step() == 1
    assert (await play.row(jobs[1].stages[0].stage_id)).state is StageState.QUEUED


async def test_a_paused_job_is_left_alone(play: Any) -> None:
    job = await play.create_job()
    await pause_job(play.store, "default", job.job_id)
    assert await play.reconciler.step() == 0
    await resume_job(play.store, "default", job.job_id)
    assert await play.wake_ups() == 2
    assert await play.claim(job.stages[0].stage_id) is not None


async def test_a_lost_worker_is_blamed_and_a_stalled_one_too(play: Any) -> None:
    for number, changed in enumerate(("lease_until", "progress_time", "lease_until"), start=1):
        stage_id = (await play.create_job()).stages[0].stage_id
        await play.claim(stage_id)
        await play.shift(stage_id, **{changed: LONG_AGO})
        await play.reconciler.step()
        async with play.database.transaction() as session:
            row = await session.get_one(WorkerRow, "w")
        assert row.num_failures_in_row == number
    assert row.state is WorkerState.QUARANTINED


async def test_a_silent_worker_is_marked_lost_until_it_speaks_again(play: Any) -> None:
    async with play.database.transaction() as session:
        await session.exec(update(WorkerRow).values(heartbeat_time=col(WorkerRow.heartbeat_time) + LONG_AGO))
    await play.reconciler.step()
    async with play.database.transaction() as session:
        assert (await session.get_one(WorkerRow, "w")).state is WorkerState.LOST
    await heartbeat(play.store, "w", False, [], LEASE)
    async with play.database.transaction() as session:
        assert (await session.get_one(WorkerRow, "w")).state is WorkerState.READY
