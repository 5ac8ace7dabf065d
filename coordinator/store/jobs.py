"""Jobs in PostgreSQL: the locks, the upserts and the searches behind `coordinator/job_store.py`. Decides nothing.

What every claim and every completion needs goes straight to asyncpg (`statements.py`), everything else through the ORM,
in one transaction.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from itertools import chain
from typing import Any

import asyncpg
from sqlalchemy import Integer, bindparam
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlmodel import Text, and_, any_, col, delete, exists, func, not_, or_, select, union_all, update
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.change import JobChange
from coordinator.commands.dead_letters import record_dead_letter
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from coordinator.messages import OutboxMessage
from coordinator.store.engine import Database, now
from coordinator.store.notifications import (
    EVENTS_CHANNEL,
    PROGRESS_CHANNEL,
    WAKE_UPS_CHANNEL,
    announce,
    payload_of,
)
from coordinator.store.queries import find_job_of_request, list_checkpoints
from coordinator.store.statements import Shape, Statement
from coordinator.store.tables import (
    FENCES,
    CheckpointRow,
    DeadLetterRow,
    DeadLetterSource,
    DeploymentRow,
    JobRow,
    MetricRow,
    ModelRow,
    OutboxRow,
    ProjectRow,
    StageRow,
    WorkerRow,
    WorkerState,
)
from luthier.ids import new_id

_JOB, _STAGE, _WORKER, _OUTBOX = Shape(JobRow), Shape(StageRow), Shape(WorkerRow), Shape(OutboxRow)
_MODEL, _DEPLOYMENT = Shape(ModelRow), Shape(DeploymentRow)
_job, _stage, _worker, _deployment = _JOB.table, _STAGE.table, _WORKER.table, _DEPLOYMENT.table


def _texts(name: str) -> Any:
    return bindparam(name, type_=ARRAY(Text))


_FIND_STAGES = Statement(_stage.select().where(_stage.c.stage_id == any_(_texts("stage_ids"))))
_FIND_WORKERS = Statement(_worker.select().where(_worker.c.worker_id == any_(_texts("worker_ids"))))
_FAILING_WORKERS = Statement(
    select(_worker.c.worker_id).where(
        _worker.c.worker_id == any_(_texts("worker_ids")), _worker.c.num_failures_in_row > 0
    )
)
_LOCK_JOBS = {
    skip_locked: Statement(
        _job.select()
        .where(_job.c.job_id == any_(_texts("job_ids")))
        .order_by(_job.c.job_id)
        .with_for_update(skip_locked=skip_locked)
    )
    for skip_locked in (False, True)
}
_jobs_of_stages = select(_stage.c.job_id).where(_stage.c.stage_id == any_(_texts("stage_ids")))
_LOCK_JOBS_OF = {
    skip_locked: Statement(
        _job.select()
        .where(_job.c.job_id.in_(_jobs_of_stages))
        .order_by(_job.c.job_id)
        .with_for_update(of=_job, skip_locked=skip_locked)
    )
    for skip_locked in (False, True)
}
_LOCK_STAGES = Statement(
    _stage.select()
    .add_columns(func.clock_timestamp().label("moment"))
    .where(_stage.c.job_id == any_(_texts("job_ids")))
    .order_by(_stage.c.job_id, _stage.c.position)
    .with_for_update(of=_stage)
)
_FIND_DEPLOYMENTS = Statement(_deployment.select().where(_deployment.c.deployment_id == any_(_texts("deployment_ids"))))
_NEXT_FENCES = Statement(
    select(FENCES.next_value().label("fence")).select_from(func.generate_series(1, bindparam("count", type_=Integer)))
)
_TAKE_SEQUENCE = Statement(
    update(ProjectRow)
    .where(col(ProjectRow.project_id) == bindparam("project"))
    .values(last_sequence=ProjectRow.last_sequence + bindparam("count"))
    .returning(
        col(ProjectRow.last_sequence),
        func.pg_notify(bindparam("channel", type_=Text), bindparam("payload", type_=Text)),
    )
)
_OUTBOX_NAMES = tuple(name for name in _OUTBOX.names if name not in ("position", "published_time"))
_ADD_MESSAGE = Statement(insert(OutboxRow).values({name: bindparam(name) for name in _OUTBOX_NAMES}))
_ADD: dict[Shape[Any], Statement] = {
    shape: Statement(insert(shape.table).values({name: bindparam(name) for name in shape.names}))
    for shape in (_MODEL, _DEPLOYMENT)
}


@cache
def _update_of(shape: Shape[Any], names: frozenset[str]) -> Statement:
    """Writes some columns, named `new_` and their name, of one row, which is named by `key`."""
    key = shape.table.c[shape.key]
    columns = sorted(name.removeprefix("new_") for name in names)
    values = {name: bindparam(f"new_{name}", type_=shape.table.c[name].type) for name in columns}
    return Statement(shape.table.update().where(key == bindparam("key", type_=key.type)).values(values))


class PostgresJobs:
    """A `JobStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["PostgresTransaction"]:
        """READ COMMITTED; what is read under a lock is the newest version."""
        async with self._database.begin() as (session, connection):
            yield PostgresTransaction(session, connection)


class PostgresTransaction:
    """A `JobTransaction`."""

    def __init__(self, session: AsyncSession, connection: asyncpg.Connection) -> None:
        self._session = session
        self._connection = connection
        self._before: dict[str, Mapping[str, Any]] = {}
        """Locked jobs, stages and deployments as they were, by id."""

    async def now(self) -> datetime:
        return await now(self._session)

    def make_id(self, prefix: str) -> str:
        return new_id(prefix)

    async def lock_jobs(self, job_ids: Collection[str], *, skip_locked: bool = False) -> Mapping[str, JobChange]:
        return await self._changes(await _LOCK_JOBS[skip_locked].fetch(self._connection, job_ids=[*job_ids]))

    async def lock_jobs_of(self, stage_ids: Collection[str], *, skip_locked: bool = False) -> Mapping[str, JobChange]:
        if not stage_ids:
            return {}
        records = await _LOCK_JOBS_OF[skip_locked].fetch(self._connection, stage_ids=[*stage_ids])
        changes = await self._changes(records)
        return {row.stage_id: change for change in changes.values() for row in change.stages}

    async def lock_stage(self, stage_id: str) -> StageRow | None:
        return await self._session.get(StageRow, stage_id, with_for_update=True, populate_existing=True)

    async def lock_workers(
        self, worker_ids: Collection[str], *, if_failing: Collection[str] = ()
    ) -> Sequence[WorkerRow]:
        wanted = set(worker_ids)
        if doubtful := set(if_failing) - wanted:
            failing = await _FAILING_WORKERS.fetch(self._connection, worker_ids=[*doubtful])
            wanted.update(record["worker_id"] for record in failing)
        if not wanted:
            return []
        query = select(WorkerRow).where(col(WorkerRow.worker_id).in_(wanted)).order_by(col(WorkerRow.worker_id))
        query = query.with_for_update().execution_options(populate_existing=True)
        return (await self._session.exec(query)).all()

    async def save(self, changes: Collection[JobChange]) -> None:
        if self._session.new or self._session.dirty:
            await self._session.flush()  # every row before the counter, which is locked last
        new_rows = [row for change in changes for row in change.new_rows]
        for shape, statement in _ADD.items():
            rows = [row for row in new_rows if isinstance(row, shape.kind)]
            if rows:
                await statement.execute_many(self._connection, map(shape.values, rows))
        await self._update(_JOB, [change.job for change in changes])
        await self._update(_STAGE, [row for change in changes for row in change.stages])
        await self._update(_DEPLOYMENT, [change.deployment for change in changes if change.deployment is not None])
        told: defaultdict[str, list[JobChange]] = defaultdict(list)
        for change in changes:
            if not change.is_silent:
                told[change.job.project_id].append(change)
        for project_id in sorted(told):
            await self._tell(project_id, told[project_id])

    async def next_fences(self, count: int) -> Sequence[int]:
        records = await _NEXT_FENCES.fetch(self._connection, count=count) if count else []
        return [int(record["fence"]) for record in records]

    async def find_stages(self, stage_ids: Collection[str]) -> Mapping[str, StageRow]:
        records = await _FIND_STAGES.fetch(self._connection, stage_ids=[*stage_ids]) if stage_ids else []
        return {row.stage_id: row for row in map(_STAGE.row, records)}

    async def find_workers(self, worker_ids: Collection[str]) -> Mapping[str, WorkerRow]:
        records = await _FIND_WORKERS.fetch(self._connection, worker_ids=[*worker_ids]) if worker_ids else []
        return {row.worker_id: row for row in map(_WORKER.row, records)}

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
                and_(col(StageRow.state) == StageState.RUNNING, col(StageRow.gang_time) <= clock),
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

    async def _changes(self, records: Sequence[asyncpg.Record]) -> Mapping[str, JobChange]:
        """Changes of jobs that were just locked, whose stages are locked here."""
        if not records:
            return {}
        jobs = {job.job_id: job for job in map(_JOB.row, records)}
        stages: dict[str, list[StageRow]] = {job_id: [] for job_id in jobs}
        moments: dict[str, datetime] = {}
        for record in await _LOCK_STAGES.fetch(self._connection, job_ids=[*jobs]):
            stage = _STAGE.row(record)
            stages[stage.job_id].append(stage)
            moments[stage.job_id] = record["moment"]
        deployments = await self._deployments([job.deployment_id for job in jobs.values() if job.deployment_id])
        self._remember(_JOB, jobs.values())
        self._remember(_STAGE, chain.from_iterable(stages.values()))
        self._remember(_DEPLOYMENT, deployments.values())
        return {
            job_id: JobChange(job, stages[job_id], moments[job_id], new_id, deployments.get(job.deployment_id or ""))
            for job_id, job in jobs.items()
        }

    async def _deployments(self, deployment_ids: Collection[str]) -> Mapping[str, DeploymentRow]:
        if not deployment_ids:
            return {}
        records = await _FIND_DEPLOYMENTS.fetch(self._connection, deployment_ids=[*deployment_ids])
        return {row.deployment_id: row for row in map(_DEPLOYMENT.row, records)}

    def _remember(self, shape: Shape[Any], rows: Iterable[JobRow | StageRow | DeploymentRow]) -> None:
        for row in rows:
            self._before[getattr(row, shape.key)] = shape.values(row)

    async def _update(self, shape: Shape[Any], rows: Iterable[JobRow | StageRow | DeploymentRow]) -> None:
        """Writes what was changed in rows since they were locked; those that are new are written already."""
        changed: defaultdict[frozenset[str], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            key = getattr(row, shape.key)
            before, present = self._before.get(key), shape.values(row)
            if before is None:
                continue
            values = {f"new_{name}": value for name, value in present.items() if value is not before[name]}
            if values:
                changed[frozenset(values)].append({"key": key, **values})
                self._before[key] = present
        for names, group in changed.items():
            await _update_of(shape, names).execute_many(self._connection, group)

    async def _tell(self, project_id: str, changes: Sequence[JobChange]) -> None:
        """Numbers the events of one project's changes, writes all messages, and notifies who waits for them."""
        channel = WAKE_UPS_CHANNEL if any(change.wanted() for change in changes) else EVENTS_CHANNEL
        payload = payload_of(project_id, *(change.job.job_id for change in changes))
        num_events = sum(change.num_events for change in changes)
        # Without events it notifies all the same.
        (record,) = await _TAKE_SEQUENCE.fetch(
            self._connection, project=project_id, count=num_events, channel=channel, payload=payload
        )
        sequence = int(record["last_sequence"]) - num_events + 1
        messages: list[OutboxMessage] = []
        for change in changes:
            messages += change.messages(sequence)
            sequence += change.num_events
        await _ADD_MESSAGE.execute_many(self._connection, map(vars, messages))
