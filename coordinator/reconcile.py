"""The guarantee behind the bus: looks for what time alone has changed and turns it into the same facts.

Expired leases, attempts without progress, back-offs that are over, wake-ups that nobody followed, jobs that nothing
would move any more, workers that fell silent. Runs in every coordinator; a job that another one works on is skipped.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlmodel import and_, col, exists, func, or_, select, union_all, update

from coordinator.apply import JobChange
from coordinator.facts import Fact, Failed, LeaseExpired, Overlooked
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from coordinator.store.engine import DATABASE_DOWN, OUR_FAULTS, Database
from coordinator.store.tables import JobRow, OutboxRow, StageRow, WorkerRow, WorkerState
from luthier.v1.failure_pb2 import Failure, FailureClass

BATCH_SIZE = 100

log = logging.getLogger(__name__)


class Reconciler:
    """One loop per coordinator."""

    def __init__(self, database: Database, *, lease: timedelta, interval: timedelta) -> None:
        self._database = database
        self._lease = lease
        self._interval = interval

    async def run(self) -> None:
        """Looks every `interval`, for ever."""
        while True:
            try:
                if await self.step() == BATCH_SIZE:
                    continue
            except OUR_FAULTS:
                raise
            except DATABASE_DOWN as error:
                log.warning("reconciling waits for PostgreSQL: %r", error)
            await asyncio.sleep(self._interval.total_seconds())

    async def step(self) -> int:
        """One look; returns how many jobs needed something."""
        await self._mark_lost_workers()
        job_ids = await self._overdue_jobs()
        for job_id in job_ids:
            await self._reconcile(job_id)
        return len(job_ids)

    async def _overdue_jobs(self) -> Sequence[str]:
        clock = func.clock_timestamp()
        untold = exists().where(
            col(OutboxRow.stage_id) == col(StageRow.stage_id),
            col(OutboxRow.sequence).is_(None),
            col(OutboxRow.published_time).is_(None),
        )
        patience = func.make_interval(0, 0, 0, 0, 0, 0, col(StageRow.progress_timeout_seconds))
        overdue = select(col(StageRow.job_id)).where(
            or_(
                and_(col(StageRow.state) == StageState.RUNNING, col(StageRow.lease_until) < clock),
                and_(col(StageRow.state) == StageState.RUNNING, col(StageRow.progress_time) + patience < clock),
                and_(col(StageRow.state) == StageState.QUEUED, col(StageRow.wake_time) <= clock, ~untold),
            )
        )
        alive = exists().where(
            col(StageRow.job_id) == col(JobRow.job_id),
            col(StageRow.state).in_([StageState.QUEUED, StageState.RUNNING]),
        )
        stuck = select(col(JobRow.job_id)).where(col(JobRow.state).in_([JobState.PENDING, JobState.RUNNING]), ~alive)
        found = union_all(overdue, stuck).subquery()
        async with self._database.transaction() as session:
            return (await session.exec(select(found.c.job_id).distinct().limit(BATCH_SIZE))).all()

    async def _reconcile(self, job_id: str) -> None:
        async with self._database.transaction() as session:
            change = await JobChange.lock(session, job_id, skip_locked=True)
            if change is None:
                return
            for row in change.stages:
                fact = overdue_fact(row, change.moment)
                if fact is None:
                    continue
                level = logging.INFO if isinstance(fact, Overlooked) else logging.WARNING
                log.log(level, "job %s, stage %s, attempt %d: %s", job_id, row.name, row.attempt, type(fact).__name__)
                change.advance(row, fact)
            await change.finish()

    async def _mark_lost_workers(self) -> None:
        query = update(WorkerRow).where(
            col(WorkerRow.state) != WorkerState.LOST,
            col(WorkerRow.heartbeat_time) < func.clock_timestamp() - self._lease,
        )
        async with self._database.transaction() as session:
            lost = await session.exec(query.values(state=WorkerState.LOST).returning(col(WorkerRow.worker_id)))
            for worker_id in lost.scalars():
                log.warning("worker %s has sent no heartbeat for %s", worker_id, self._lease)


def overdue_fact(row: StageRow, moment: datetime) -> Fact | None:
    """What time alone has made true of a stage at `moment`, the database's clock."""
    if row.state is StageState.QUEUED and row.wake_time is not None and row.wake_time <= moment:
        return Overlooked()
    if row.state is not StageState.RUNNING or row.lease_until is None or row.progress_time is None:
        return None
    if row.lease_until < moment:
        return LeaseExpired(row.fence)
    if row.progress_time + timedelta(seconds=row.progress_timeout_seconds) < moment:
        where = (
            f"at {row.progress.message or 'step'} {row.progress.step}" if row.progress is not None else "at the start"
        )
        message = f"no progress for {row.progress_timeout_seconds:g} s {where}; see resources.progress_timeout_seconds"
        return Failed(row.fence, Failure(failure_class=FailureClass.FAILURE_CLASS_INTERNAL, message=message))
    return None
