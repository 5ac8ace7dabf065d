"""Jobs in PostgreSQL: the locks, the upserts and the searches behind `coordinator/job_store.py`. Decides nothing."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import and_, col, delete, exists, func, not_, or_, select, union_all, update
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.change import JobChange
from coordinator.commands.dead_letters import record_dead_letter
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from coordinator.store.engine import Database, now
from coordinator.store.notifications import EVENTS_CHANNEL, PROGRESS_CHANNEL, announce
from coordinator.store.queries import find_job_of_request, list_checkpoints
from coordinator.store.tables import (
    FENCES,
    CheckpointRow,
    DeadLetterRow,
    DeadLetterSource,
    DeploymentRow,
    JobRow,
    MetricRow,
    OutboxRow,
    ProjectRow,
    StageRow,
    WorkerRow,
    WorkerState,
)
from luthier.ids import new_id


class PostgresJobs:
    """A `JobStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """READ COMMITTED; what is read under a lock is the newest version."""
        async with self._database.transaction() as session:
            yield PostgresTransaction(session)


class PostgresTransaction:
    """A `JobTransaction`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def now(self) -> datetime:
        return await now(self._session)

    def make_id(self, prefix: str) -> str:
        return new_id(prefix)

    async def lock_job(self, job_id: str, *, skip_locked: bool = False) -> JobChange | None:
        query = select(JobRow).where(JobRow.job_id == job_id).with_for_update(skip_locked=skip_locked)
        job = (await self._session.exec(query.execution_options(populate_existing=True))).one_or_none()
        return None if job is None else await self._change(job)

    async def lock_job_of(self, stage_id: str) -> JobChange | None:
        job_id = select(StageRow.job_id).where(StageRow.stage_id == stage_id).scalar_subquery()
        query = select(JobRow).where(JobRow.job_id == job_id).with_for_update()
        job = (await self._session.exec(query.execution_options(populate_existing=True))).one_or_none()
        return None if job is None else await self._change(job)

    async def lock_stage(self, stage_id: str) -> StageRow | None:
        return await self._session.get(StageRow, stage_id, with_for_update=True, populate_existing=True)

    async def lock_workers(self, worker_ids: Collection[str], *, only_failing: bool = False) -> Sequence[WorkerRow]:
        query = select(WorkerRow).where(col(WorkerRow.worker_id).in_(worker_ids)).order_by(col(WorkerRow.worker_id))
        if only_failing:
            query = query.where(col(WorkerRow.num_failures_in_row) > 0)
        query = query.with_for_update().execution_options(populate_existing=True)
        return (await self._session.exec(query)).all()

    async def save(self, change: JobChange) -> None:
        self._session.add_all(change.new_rows)
        if change.is_silent:
            return
        await self._session.flush()  # every row before the counter, which is locked last
        first = await self._take_sequence(change.job.project_id, change.num_events) if change.num_events else 0
        self._session.add_all(change.messages(first))
        await announce(self._session, EVENTS_CHANNEL, change.job.project_id, change.job.job_id)

    async def next_fence(self) -> int:
        fence: int = (await self._session.exec(select(FENCES.next_value()))).one()
        return fence

    async def find_claim(self, stage_id: str, worker_id: str) -> tuple[StageRow | None, WorkerRow | None]:
        query = select(StageRow, WorkerRow).where(StageRow.stage_id == stage_id)
        query = query.join(WorkerRow, col(WorkerRow.worker_id) == worker_id, isouter=True)
        return (await self._session.exec(query)).one_or_none() or (None, None)

    async def list_ready_workers(self) -> Sequence[WorkerRow]:
        return (await self._session.exec(select(WorkerRow).where(WorkerRow.state == WorkerState.READY))).all()

    async def has_project(self, project_id: str) -> bool:
        return await self._session.get(ProjectRow, project_id) is not None

    async def insert_job(self, job: JobRow, stages: Sequence[StageRow]) -> bool:
        query = insert(JobRow).values(job.model_dump(exclude_none=True))
        query = query.on_conflict_do_nothing(index_elements=["project_id", "request_id"])
        if (await self._session.exec(query.returning(col(JobRow.job_id)))).first() is None:
            return False
        self._session.add_all(stages)
        return True

    async def find_job_of_request(self, project_id: str, request_id: str) -> tuple[JobRow, Sequence[StageRow]] | None:
        return await find_job_of_request(self._session, project_id, request_id)

    async def put_worker(self, worker: WorkerRow) -> None:
        query = insert(WorkerRow).values(worker.model_dump(exclude_none=True))
        await self._session.exec(query.on_conflict_do_nothing(index_elements=["worker_id"]))

    async def find_project_of_job(self, job_id: str) -> str:
        return (await self._session.exec(select(JobRow.project_id).where(JobRow.job_id == job_id))).one()

    async def announce_progress(self, project_id: str, job_id: str) -> None:
        await announce(self._session, PROGRESS_CHANNEL, project_id, job_id)

    async def list_checkpoints(self, stage_id: str) -> Sequence[CheckpointRow]:
        return await list_checkpoints(self._session, stage_id)

    async def forget_checkpoints(self, stage_id: str, uris: Collection[str]) -> None:
        query = delete(CheckpointRow).where(col(CheckpointRow.stage_id) == stage_id, col(CheckpointRow.uri).in_(uris))
        await self._session.exec(query)

    async def put_points(self, points: Sequence[MetricRow]) -> set[int]:
        query = insert(MetricRow).values([point.model_dump() for point in points])
        known, new = col(MetricRow.values), query.excluded["values"]
        query = query.on_conflict_do_update(
            index_elements=["stage_id", "attempt", "step"],
            set_={"values": known.op("||")(new)},
            where=not_(known.op("@>", is_comparison=True)(new)),
        )
        return set((await self._session.exec(query.returning(col(MetricRow.step)))).scalars())

    async def put_checkpoints(self, checkpoints: Sequence[CheckpointRow]) -> set[int]:
        query = insert(CheckpointRow).values([checkpoint.model_dump() for checkpoint in checkpoints])
        query = query.on_conflict_do_nothing(index_elements=["stage_id", "step", "fence"])
        return set((await self._session.exec(query.returning(col(CheckpointRow.step)))).scalars())

    async def overdue_jobs(self, limit: int) -> Sequence[str]:
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
        poisoned = exists().where(
            col(DeadLetterRow.job_id) == found.c.job_id,
            col(DeadLetterRow.source) == DeadLetterSource.RECONCILER,
            col(DeadLetterRow.retry_time).is_(None),
        )
        return (await self._session.exec(select(found.c.job_id).where(~poisoned).distinct().limit(limit))).all()

    async def record_poisoned_job(self, job_id: str, reason: str) -> None:
        project_id = await self.find_project_of_job(job_id)
        await record_dead_letter(
            self._session, DeadLetterSource.RECONCILER, reason, project_id=project_id, job_id=job_id
        )

    async def mark_lost_workers(self, lease: timedelta) -> Sequence[str]:
        silent = (
            select(col(WorkerRow.worker_id))
            .where(
                col(WorkerRow.state) != WorkerState.LOST,
                col(WorkerRow.heartbeat_time) < func.clock_timestamp() - lease,
            )
            .with_for_update(skip_locked=True)
        )
        query = update(WorkerRow).where(col(WorkerRow.worker_id).in_(silent)).values(state=WorkerState.LOST)
        return (await self._session.exec(query.returning(col(WorkerRow.worker_id)))).scalars().all()

    async def _change(self, job: JobRow) -> JobChange:
        query = select(StageRow, func.clock_timestamp()).where(StageRow.job_id == job.job_id)
        query = query.order_by(col(StageRow.position)).with_for_update(of=StageRow)
        found = (await self._session.exec(query.execution_options(populate_existing=True))).all()
        deployment = await self._session.get(DeploymentRow, job.deployment_id) if job.deployment_id else None
        return JobChange(job, [row for row, _ in found], found[-1][1], new_id, deployment)

    async def _take_sequence(self, project_id: str, count: int) -> int:
        """The first of `count` numbers that follow each other."""
        counter = (
            update(ProjectRow)
            .where(col(ProjectRow.project_id) == project_id)
            .values(last_sequence=ProjectRow.last_sequence + count)
            .returning(col(ProjectRow.last_sequence))
            .execution_options(synchronize_session=False)
        )
        last: int = (await self._session.exec(counter)).scalar_one()
        return last - count + 1
