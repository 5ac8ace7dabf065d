"""A `JobStore` in memory with the locks, the isolation and the failures of PostgreSQL.

Every method is a point where others run and where the coordinator may die. Unlocked reads see what was committed, a
locked row is the newest version, an exception undoes everything. Waiting too long for a lock raises, as the real
`lock_timeout` does: a wrong lock order shows as that.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy.orm.attributes import manager_of_class

from coordinator.change import JobChange
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from coordinator.messages import OutboxMessage
from coordinator.reconcile import overdue_fact
from coordinator.store.tables import (
    CheckpointRow,
    DeploymentRow,
    JobRow,
    MetricRow,
    ModelRow,
    StageRow,
    WorkerRow,
    WorkerState,
)

R = TypeVar("R")
LOCK_TIMEOUT_SECONDS = 10.0
START = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = "default"

Key = tuple[str, str]
Step = Callable[[], Awaitable[None]]


class LockTimeoutError(Exception):
    """Two transactions wait for each other."""


@dataclass
class Tables:
    """What is committed."""

    job: dict[str, JobRow] = field(default_factory=dict)
    stage: dict[str, StageRow] = field(default_factory=dict)
    worker: dict[str, WorkerRow] = field(default_factory=dict)
    deployment: dict[str, DeploymentRow] = field(default_factory=dict)
    model: dict[str, ModelRow] = field(default_factory=dict)
    outbox: dict[str, OutboxMessage] = field(default_factory=dict)
    checkpoint: dict[tuple[str, int, int], CheckpointRow] = field(default_factory=dict)
    point: dict[tuple[str, int, int], MetricRow] = field(default_factory=dict)
    poisoned: dict[str, str] = field(default_factory=dict)
    """Job and reason of the reconciler's dead letters."""
    last_sequence: int = 0
    stages_of: dict[str, list[str]] = field(default_factory=dict)
    """Ids of each job's stages by position."""

    def dump(self) -> dict[str, Any]:
        """Every value of every row, to be compared."""
        dumped: dict[str, Any] = {"last_sequence": self.last_sequence, "poisoned": self.poisoned}
        for name in ("job", "stage", "worker", "deployment", "model", "outbox", "checkpoint", "point"):
            dumped[name] = {key: _values(row) for key, row in getattr(self, name).items()}
        return dumped


class MemoryStore:
    """Where jobs live while a test runs."""

    def __init__(self, clock: Callable[[], datetime], step: Step, wait: Callable[[float], Awaitable[None]]) -> None:
        """An empty store.

        Args:
            clock: the database's clock.
            step: awaited wherever a statement would go to the database; may raise.
            wait: sleeps for some seconds.
        """
        self.tables = Tables()
        self.clock = clock
        self.step = step
        self.wait = wait
        self.on_commit: Callable[[Collection[OutboxMessage]], None] = lambda rows: None
        self.locks: dict[Key, MemoryTransaction] = {}
        self.num_ids = 0
        self.last_fence = 0

    def transaction(self) -> "MemoryTransaction":
        """As an async context manager."""
        return MemoryTransaction(self)


class MemoryTransaction:
    """A `JobTransaction`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._committed = store.tables
        self._rows: dict[Key, Any] = {}
        self._changes: list[Callable[[Tables], None]] = []
        self._messages: list[OutboxMessage] = []

    async def __aenter__(self) -> "MemoryTransaction":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self._store.step()
                self._commit()
        finally:
            for key in [key for key, holder in self._store.locks.items() if holder is self]:
                del self._store.locks[key]
        if kind is None:
            await self._store.step()  # committed, and the caller may never hear of it

    def _commit(self) -> None:
        for (table, key), row in self._rows.items():
            getattr(self._committed, table)[key] = row
        for change in self._changes:
            change(self._committed)
        for message in self._messages:
            self._committed.outbox[message.message_id] = message
        self._store.on_commit(self._messages)

    async def now(self) -> datetime:
        await self._store.step()
        return self._store.clock()

    def make_id(self, prefix: str) -> str:
        self._store.num_ids += 1
        return f"{prefix}_{self._store.num_ids:06}"

    async def lock_jobs(self, job_ids: Collection[str], *, skip_locked: bool = False) -> Mapping[str, JobChange]:
        await self._store.step()
        found = []
        for job_id in sorted(job_ids):
            if job_id in self._committed.job and await self._lock("job", job_id, skip_locked):
                found.append(job_id)
        return {job_id: await self._lock_stages(job_id) for job_id in found}

    async def lock_jobs_of(self, stage_ids: Collection[str], *, skip_locked: bool = False) -> Mapping[str, JobChange]:
        jobs = {stage_id: row.job_id for stage_id in stage_ids if (row := self._committed.stage.get(stage_id))}
        changes = await self.lock_jobs(set(jobs.values()), skip_locked=skip_locked)
        return {row.stage_id: change for change in changes.values() for row in change.stages}

    async def _lock_stages(self, job_id: str) -> JobChange:
        stages = []
        for stage_id in self._committed.stages_of[job_id]:
            await self._lock("stage", stage_id)
            stages.append(self._take("stage", stage_id))
        await self._store.step()
        job: JobRow = self._take("job", job_id)
        deployment = self._take("deployment", job.deployment_id) if job.deployment_id else None
        return JobChange(job, stages, self._store.clock(), self.make_id, deployment)

    async def lock_stage(self, stage_id: str) -> StageRow | None:
        await self._store.step()
        if stage_id not in self._committed.stage:
            return None
        await self._lock("stage", stage_id)
        row: StageRow = self._take("stage", stage_id)
        return row

    async def lock_workers(
        self, worker_ids: Collection[str], *, if_failing: Collection[str] = ()
    ) -> Sequence[WorkerRow]:
        await self._store.step()
        rows = []
        for worker_id in sorted({*worker_ids, *if_failing}):
            known = self._rows.get(("worker", worker_id)) or self._committed.worker.get(worker_id)
            if known is None or (worker_id not in worker_ids and known.num_failures_in_row == 0):
                continue
            await self._lock("worker", worker_id)
            rows.append(self._take("worker", worker_id))
        return rows

    async def save(self, changes: Collection[JobChange]) -> None:
        await self._store.step()
        for row in [row for change in changes for row in change.new_rows]:
            if isinstance(row, ModelRow):
                self._rows["model", row.model_id] = row
            else:
                self._rows["deployment", row.deployment_id] = row
        told = [change for change in changes if not change.is_silent]
        if not told:
            return
        await self._lock("project", PROJECT)
        sequence = self._committed.last_sequence + 1
        last = self._committed.last_sequence + sum(change.num_events for change in told)
        self._changes.append(lambda tables: setattr(tables, "last_sequence", last))
        await self._store.step()
        for change in told:
            self._messages += change.messages(sequence)
            sequence += change.num_events

    async def next_fences(self, count: int) -> Sequence[int]:
        await self._store.step()
        first = self._store.last_fence + 1
        self._store.last_fence += count
        return range(first, first + count)

    async def find_stages(self, stage_ids: Collection[str]) -> Mapping[str, StageRow]:
        await self._store.step()
        found = {stage_id: self._committed.stage.get(stage_id) for stage_id in stage_ids}
        return {stage_id: copy_row(row) for stage_id, row in found.items() if row is not None}

    async def find_workers(self, worker_ids: Collection[str]) -> Mapping[str, WorkerRow]:
        await self._store.step()
        found = {worker_id: self._committed.worker.get(worker_id) for worker_id in worker_ids}
        return {worker_id: copy_row(row) for worker_id, row in found.items() if row is not None}

    async def list_ready_workers(self) -> Sequence[WorkerRow]:
        await self._store.step()
        return [row for row in self._committed.worker.values() if row.state is WorkerState.READY]

    async def has_project(self, project_id: str) -> bool:
        await self._store.step()
        return project_id == PROJECT

    async def insert_job(self, job: JobRow, stages: Sequence[StageRow]) -> bool:
        await self._store.step()
        await self._lock("request", job.request_id)
        if any(known.request_id == job.request_id for known in self._committed.job.values()):
            return False
        self._rows["job", job.job_id] = job
        for stage in stages:
            self._rows["stage", stage.stage_id] = stage
        stage_ids = [stage.stage_id for stage in stages]
        self._changes.append(lambda tables: tables.stages_of.update({job.job_id: stage_ids}))
        return True

    async def find_job_of_request(self, project_id: str, request_id: str) -> tuple[JobRow, Sequence[StageRow]] | None:
        await self._store.step()
        for job in self._committed.job.values():
            if job.request_id == request_id:
                return job, [self._committed.stage[stage_id] for stage_id in self._committed.stages_of[job.job_id]]
        return None

    async def put_worker(self, worker: WorkerRow) -> None:
        await self._store.step()
        await self._lock("worker", worker.worker_id)
        if worker.worker_id not in self._committed.worker:
            self._rows["worker", worker.worker_id] = worker

    async def find_project_of_job(self, job_id: str) -> str:
        return self._committed.job[job_id].project_id

    async def announce_progress(self, project_id: str, job_id: str) -> None:
        """Nobody watches."""

    async def list_checkpoints(self, stage_id: str) -> Sequence[CheckpointRow]:
        await self._store.step()
        found = [row for row in self._committed.checkpoint.values() if row.stage_id == stage_id]
        return sorted(found, key=lambda row: (row.step, row.fence), reverse=True)

    async def put_points(self, points: Sequence[MetricRow]) -> set[int]:
        await self._store.step()
        new = {}
        for point in points:
            key = point.stage_id, point.attempt, point.step
            known = self._committed.point.get(key)
            if known is None or known.values | point.values != known.values:
                new[key] = point
        self._changes.append(lambda tables: tables.point.update(new))
        return {step for _, _, step in new}

    async def put_checkpoints(self, checkpoints: Sequence[CheckpointRow]) -> set[int]:
        await self._store.step()
        rows = {(row.stage_id, row.step, row.fence): row for row in checkpoints}
        new = {key: row for key, row in rows.items() if key not in self._committed.checkpoint}
        self._changes.append(lambda tables: tables.checkpoint.update(new))
        return {step for _, step, _ in new}

    async def forget_checkpoints(self, stage_id: str, uris: Collection[str]) -> None:
        await self._store.step()

        def forget(tables: Tables) -> None:
            for key, row in list(tables.checkpoint.items()):
                if row.stage_id == stage_id and row.uri in uris:
                    del tables.checkpoint[key]

        self._changes.append(forget)

    async def overdue_jobs(self, limit: int) -> Sequence[str]:
        await self._store.step()
        moment, found = self._store.clock(), []
        for job_id, job in self._committed.job.items():
            stages = [self._committed.stage[stage_id] for stage_id in self._committed.stages_of[job_id]]
            is_overdue = any(
                overdue_fact(row, moment) or (row.gang_time is not None and row.gang_time <= moment)
                for row in stages
                if row.state in (StageState.QUEUED, StageState.RUNNING)
            )
            is_open = job.state in (JobState.PENDING, JobState.RUNNING)
            is_stuck = is_open and not any(row.state in (StageState.QUEUED, StageState.RUNNING) for row in stages)
            if (is_overdue or is_stuck) and job_id not in self._committed.poisoned:
                found.append(job_id)
        return found[:limit]

    async def record_poisoned_job(self, job_id: str, reason: str) -> None:
        self._changes.append(lambda tables: tables.poisoned.update({job_id: reason}))

    async def mark_lost_workers(self, lease: timedelta) -> Sequence[str]:
        await self._store.step()
        lost = []
        for worker_id, row in self._committed.worker.items():
            is_silent = row.state is not WorkerState.LOST and row.heartbeat_time < self._store.clock() - lease
            if is_silent and await self._lock("worker", worker_id, skip=True):
                self._take("worker", worker_id).state = WorkerState.LOST
                lost.append(worker_id)
        return lost

    async def _lock(self, table: str, key: str, skip: bool = False) -> bool:
        locks, waited, pause = self._store.locks, 0.0, 0.002
        while locks.get((table, key), self) is not self:
            if skip:
                return False
            if waited > LOCK_TIMEOUT_SECONDS:
                raise LockTimeoutError(f"{table} {key} is locked for {waited:.0f} s")
            await self._store.wait(pause)
            waited, pause = waited + pause, min(0.2, 2 * pause)
        locks[table, key] = self
        return True

    def _take(self, table: str, key: str) -> Any:
        """The transaction's own copy of a row that it has locked."""
        if (table, key) not in self._rows:
            self._rows[table, key] = copy_row(getattr(self._committed, table)[key])
        return self._rows[table, key]


def copy_row(row: R) -> R:
    """A row of its own with the same values; those are never changed in place."""
    copied: R = manager_of_class(type(row)).new_instance()  # type: ignore[no-untyped-call]
    copied.__dict__.update(_values(row))
    return copied


def _values(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.__dict__.items() if name != "_sa_instance_state"}
