"""Jobs in PostgreSQL: the locks, the upserts and the searches behind `coordinator/job_store.py`. Decides nothing.

What every claim and every completion needs goes straight to asyncpg (`statements.py`), everything else through the ORM,
in one transaction.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import asyncpg
from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlmodel import Text, and_, any_, col, delete, exists, func, not_, or_, select, union_all, update
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.change import JobChange
from coordinator.commands.dead_letters import record_dead_letter
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
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
    OutboxRow,
    ProjectRow,
    StageRow,
    WorkerRow,
    WorkerState,
)
from luthier.ids import new_id

_JOB, _STAGE, _WORKER, _OUTBOX = Shape(JobRow), Shape(StageRow), Shape(WorkerRow), Shape(OutboxRow)
_job, _stage, _worker, _outbox = _JOB.table, _STAGE.table, _WORKER.table, _OUTBOX.table

_FIND_STAGE = Statement(_stage.select().where(_stage.c.stage_id == bindparam("stage_id")))
_FIND_WORKER = Statement(_worker.select().where(_worker.c.worker_id == bindparam("worker_id")))
_FAILING_WORKERS = Statement(
    select(_worker.c.worker_id).where(
        _worker.c.worker_id == any_(bindparam("worker_ids", type_=ARRAY(Text))), _worker.c.num_failures_in_row > 0
    )
)
_job_of_stage = select(_stage.c.job_id).where(_stage.c.stage_id == bindparam("stage_id")).scalar_subquery()
_LOCK_JOB_OF = Statement(_job.select().where(_job.c.job_id == _job_of_stage).with_for_update())
_LOCK_JOB = {
    skip_locked: Statement(
        _job.select().where(_job.c.job_id == bindparam("job_id")).with_for_update(skip_locked=skip_locked)
    )
    for skip_locked in (False, True)
}
_LOCK_STAGES = Statement(
    _stage.select()
    .add_columns(func.clock_timestamp().label("moment"))
    .where(_stage.c.job_id == bindparam("job_id"))
    .order_by(_stage.c.position)
    .with_for_update(of=_stage)
)
_NEXT_FENCE = Statement(select(FENCES.next_value().label("fence")))
_TAKE_SEQUENCE = Statement(
    update(ProjectRow)
    .where(col(ProjectRow.project_id) == bindparam("project"))
    .values(last_sequence=ProjectRow.last_sequence + bindparam("count"))
    .returning(col(ProjectRow.last_sequence))
)
_OUTBOX_NAMES = tuple(name for name in _OUTBOX.names if name not in ("position", "published_time"))
_ADD_MESSAGE = Statement(insert(OutboxRow).values({name: bindparam(name) for name in _OUTBOX_NAMES}))
_NOTIFY = Statement(select(func.pg_notify(bindparam("channel", type_=Text), bindparam("payload", type_=Text))))


@cache
def _update_of(shape: Shape[Any], names: frozenset[str]) -> Statement:
    """Writes some columns of one row, which is named by `key`."""
    (key,) = shape.table.primary_key
    values = {name: bindparam(f"new_{name}", type_=shape.table.c[name].type) for name in sorted(names)}
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
        """Locked jobs and stages as they were, by id."""

    async def now(self) -> datetime:
        return await now(self._session)

    def make_id(self, prefix: str) -> str:
        return new_id(prefix)

    async def lock_job(self, job_id: str, *, skip_locked: bool = False) -> JobChange | None:
        return await self._change(await _LOCK_JOB[skip_locked].fetch(self._connection, job_id=job_id))

    async def lock_job_of(self, stage_id: str) -> JobChange | None:
        return await self._change(await _LOCK_JOB_OF.fetch(self._connection, stage_id=stage_id))

    async def lock_stage(self, stage_id: str) -> StageRow | None:
        return await self._session.get(StageRow, stage_id, with_for_update=True, populate_existing=True)

    async def lock_workers(self, worker_ids: Collection[str], *, only_failing: bool = False) -> Sequence[WorkerRow]:
        if only_failing:
            failing = await _FAILING_WORKERS.fetch(self._connection, worker_ids=[*worker_ids])
            worker_ids = [record["worker_id"] for record in failing]
        if not worker_ids:
            return []
        query = select(WorkerRow).where(col(WorkerRow.worker_id).in_(worker_ids)).order_by(col(WorkerRow.worker_id))
        query = query.with_for_update().execution_options(populate_existing=True)
        return (await self._session.exec(query)).all()

    async def save(self, change: JobChange) -> None:
        self._session.add_all(change.new_rows)
        await self._session.flush()  # every row before the counter, which is locked last
        await self._write(_JOB, change.job, change.job.job_id)
        for stage in change.stages:
            await self._write(_STAGE, stage, stage.stage_id)
        if change.is_silent:
            return
        first = await self._take_sequence(change.job.project_id, change.num_events) if change.num_events else 0
        messages = change.messages(first)
        await _ADD_MESSAGE.execute_many(self._connection, map(_OUTBOX.values, messages))
        has_wake_ups = any(message.sequence is None for message in messages)
        channel = WAKE_UPS_CHANNEL if has_wake_ups else EVENTS_CHANNEL
        payload = payload_of(change.job.project_id, change.job.job_id)
        await _NOTIFY.fetch(self._connection, channel=channel, payload=payload)

    async def next_fence(self) -> int:
        (record,) = await _NEXT_FENCE.fetch(self._connection)
        return int(record["fence"])

    async def find_claim(self, stage_id: str, worker_id: str) -> tuple[StageRow | None, WorkerRow | None]:
        stages = await _FIND_STAGE.fetch(self._connection, stage_id=stage_id)
        workers = await _FIND_WORKER.fetch(self._connection, worker_id=worker_id)
        return _STAGE.row(stages[0]) if stages else None, _WORKER.row(workers[0]) if workers else None

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

    async def _change(self, jobs: Sequence[asyncpg.Record]) -> JobChange | None:
        if not jobs:
            return None
        job = _JOB.row(jobs[0])
        records = await _LOCK_STAGES.fetch(self._connection, job_id=job.job_id)
        stages = [_STAGE.row(record) for record in records]
        self._before[job.job_id] = _JOB.values(job)
        self._before |= {stage.stage_id: _STAGE.values(stage) for stage in stages}
        deployment = await self._session.get(DeploymentRow, job.deployment_id) if job.deployment_id else None
        return JobChange(job, stages, records[-1]["moment"], new_id, deployment)

    async def _write(self, shape: Shape[Any], row: JobRow | StageRow, key: str) -> None:
        """Writes what was changed in a row since it was locked; a new row is the session's."""
        before = self._before.get(key)
        if before is None:
            return
        now_ = shape.values(row)
        changed = {name: value for name, value in now_.items() if value is not before[name]}
        if changed:
            statement = _update_of(shape, frozenset(changed))
            values = {f"new_{name}": value for name, value in changed.items()}
            await statement.fetch(self._connection, key=key, **values)
            self._before[key] = now_

    async def _take_sequence(self, project_id: str, count: int) -> int:
        """The first of `count` numbers that follow each other."""
        (record,) = await _TAKE_SEQUENCE.fetch(self._connection, project=project_id, count=count)
        return int(record["last_sequence"]) - count + 1
