"""The guarantee behind the bus: looks for what time alone has changed and turns it into the same facts.

Expired leases, attempts without progress, gangs that wait or have lost a member, back-offs that are over, wake-ups that
nobody followed, jobs that nothing would move any more, workers that fell silent. Runs in every coordinator; a job that
another one works on is skipped.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from coordinator.apply import finish, judge_workers
from coordinator.facts import Fact, Failed, LeaseExpired, Overlooked
from coordinator.job_store import JobStore
from coordinator.lifecycle import StageState
from coordinator.seating import tend
from coordinator.store.engine import DATABASE_DOWN, OUR_FAULTS
from coordinator.store.tables import StageRow
from coordinator.terms import Terms
from luthier.errors import LuthierError
from luthier.v1.failure_pb2 import Failure, FailureClass

BATCH_SIZE = 100

# What a job raises that our code or its rows are wrong about. It would raise it again.
JOB_FAULTS = (
    *OUR_FAULTS,
    LuthierError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)

log = logging.getLogger(__name__)


class Reconciler:
    """One loop per coordinator."""

    def __init__(self, store: JobStore, terms: Terms, interval: timedelta) -> None:
        self._store = store
        self._terms = terms
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
        async with self._store.transaction() as transaction:
            job_ids = await transaction.overdue_jobs(BATCH_SIZE)
        for job_id in job_ids:
            try:
                await self._reconcile(job_id)
            except JOB_FAULTS as error:
                await self._give_up(job_id, error)
        return len(job_ids)

    async def _reconcile(self, job_id: str) -> None:
        async with self._store.transaction() as transaction:
            change = (await transaction.lock_jobs([job_id], skip_locked=True)).get(job_id)
            if change is None:
                return
            for row in change.stages:
                fact = overdue_fact(row, change.moment)
                if fact is None:
                    tend(change, row)
                    continue
                level = logging.INFO if isinstance(fact, Overlooked) else logging.WARNING
                log.log(level, "job %s, stage %s, attempt %d: %s", job_id, row.name, row.attempt, type(fact).__name__)
                change.advance(row, fact)
            await judge_workers(transaction, [change], self._terms)
            await finish(transaction, [change])

    async def _give_up(self, job_id: str, error: Exception) -> None:
        """One job that we cannot move must not stop the others; it is passed over until somebody retries its letter."""
        log.error("job %s cannot be reconciled; see luthier dead-letters list", job_id, exc_info=error)
        async with self._store.transaction() as transaction:
            await transaction.record_poisoned_job(job_id, f"{type(error).__name__}: {error}")

    async def _mark_lost_workers(self) -> None:
        async with self._store.transaction() as transaction:
            lost = await transaction.mark_lost_workers(self._terms.lease)
        for worker_id in lost:
            log.warning("worker %s has sent no heartbeat for %s", worker_id, self._terms.lease)


def overdue_fact(row: StageRow, moment: datetime) -> Fact | None:
    """What time alone has made true of a stage at `moment`, the database's clock."""
    if row.state is StageState.QUEUED and row.wake_time is not None and row.wake_time <= moment:
        return Overlooked()
    if row.state is not StageState.RUNNING or row.lease_until is None or row.progress_time is None:
        return None
    if row.lease_until < moment:
        return LeaseExpired(row.fence)
    if row.gang is not None:
        end = row.gang.end(row.fence, moment)
        if end is not None or not row.gang.is_formed:
            return end
    if row.progress_time + timedelta(seconds=row.progress_timeout_seconds) < moment:
        where = (
            f"at {row.progress.message or 'step'} {row.progress.step}" if row.progress is not None else "at the start"
        )
        message = f"no progress for {row.progress_timeout_seconds:g} s {where}; see resources.progress_timeout_seconds"
        return Failed(row.fence, Failure(failure_class=FailureClass.FAILURE_CLASS_INTERNAL, message=message))
    return None
