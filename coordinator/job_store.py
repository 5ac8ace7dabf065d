"""The border to wherever jobs live: what commands and the reconciler ask of a store, and nothing of SQL.

`coordinator/store/jobs.py` is PostgreSQL; the simulation has one in memory. Rows that were handed out locked are
written back, with whatever was changed in them, when the transaction is committed.

Lock order, the same everywhere: jobs by id, their stages by position, workers by id, the projects' counters by id. Who
needs only one of them may skip the others, and never goes back.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from coordinator.change import JobChange
from coordinator.store.tables import CheckpointRow, JobRow, MetricRow, OutboxRow, StageRow, WorkerRow

Row = JobRow | StageRow | WorkerRow | OutboxRow
"""Of the kinds that `add` takes; what a change adds itself is in `JobChange.new_rows`."""


class JobTransaction(Protocol):
    """All of it is committed at the end, or nothing."""

    async def now(self) -> datetime:
        """The store's clock at this moment; the only clock that leases know."""
        ...

    def make_id(self, prefix: str) -> str:
        """A new id."""
        ...

    async def lock_jobs(self, job_ids: Collection[str], *, skip_locked: bool = False) -> Mapping[str, JobChange]:
        """Locks jobs by id, then their stages; without those that there are not.

        With `skip_locked` without those, too, that somebody else works on.
        """
        ...

    async def lock_jobs_of(self, stage_ids: Collection[str], *, skip_locked: bool = False) -> Mapping[str, JobChange]:
        """The same for the jobs of some stages. By the id of every stage of theirs; one job has one change."""
        ...

    async def lock_stage(self, stage_id: str) -> StageRow | None:
        """Locks one stage alone, for its lease; None when there is none."""
        ...

    async def lock_workers(
        self, worker_ids: Collection[str], *, if_failing: Collection[str] = ()
    ) -> Sequence[WorkerRow]:
        """Locks those workers that exist, by id; of those of `if_failing` the ones that have failures on record."""
        ...

    async def save(self, changes: Collection[JobChange]) -> None:
        """Writes the rows of changes, then takes numbers of the projects' sequences and writes the messages."""
        ...

    async def next_fences(self, count: int) -> Sequence[int]:
        """Rising numbers, larger than every one before. Draw them under the lock of the jobs."""
        ...

    async def find_stages(self, stage_ids: Collection[str]) -> Mapping[str, StageRow]:
        """Stages by id as they were a moment ago, without a lock."""
        ...

    async def find_workers(self, worker_ids: Collection[str]) -> Mapping[str, WorkerRow]:
        """The same for workers."""
        ...

    async def list_ready_workers(self) -> Sequence[WorkerRow]:
        """Every worker in state READY, without a lock."""
        ...

    async def has_project(self, project_id: str) -> bool:
        """Whether there is such a project."""
        ...

    async def insert_job(self, job: JobRow, stages: Sequence[StageRow]) -> bool:
        """Writes a new job; False, and nothing written, when its request id is taken.

        Waits for a transaction that is just taking it.
        """
        ...

    async def find_job_of_request(self, project_id: str, request_id: str) -> tuple[JobRow, Sequence[StageRow]] | None:
        """The job that a request made."""
        ...

    async def put_worker(self, worker: WorkerRow) -> None:
        """Writes a worker that is not on record yet; one that is stays as it is."""
        ...

    async def find_project_of_job(self, job_id: str) -> str:
        """Id of the project that a job belongs to."""
        ...

    async def announce_progress(self, project_id: str, job_id: str) -> None:
        """Wakes who watches the job when the transaction commits."""
        ...

    async def list_checkpoints(self, stage_id: str) -> Sequence[CheckpointRow]:
        """Committed checkpoints of a stage, newest first."""
        ...

    async def forget_checkpoints(self, stage_id: str, uris: Collection[str]) -> None:
        """Deletes checkpoints of one stage; what is not on record is ignored."""
        ...

    async def put_points(self, points: Sequence[MetricRow]) -> set[int]:
        """Merges metrics of one attempt into what is on record; the steps that said something new."""
        ...

    async def put_checkpoints(self, checkpoints: Sequence[CheckpointRow]) -> set[int]:
        """Records checkpoints of one attempt; the steps that were not on record."""
        ...

    async def overdue_jobs(self, limit: int) -> Sequence[str]:
        """Ids of jobs with a stage of which `reconcile.overdue_fact` says something, or that nothing would move.

        Those with an open dead letter of the reconciler are left out.
        """
        ...

    async def record_poisoned_job(self, job_id: str, reason: str) -> None:
        """Keeps a dead letter of a job that cannot be reconciled."""
        ...

    async def mark_lost_workers(self, lease: timedelta) -> Sequence[str]:
        """Marks those LOST that have sent no heartbeat for a whole lease, and says which; skips locked ones."""
        ...


class JobStore(Protocol):
    """Where jobs live."""

    def transaction(self) -> AbstractAsyncContextManager[JobTransaction]:
        """A transaction: committed at the end, undone by an exception."""
        ...
