"""One transaction on one job: lock, decide, write. The imperative shell around `coordinator/change.py`.

Every state change of the platform passes through here. The project's counter is taken last and held until the commit,
which makes the sequence dense and equal to the order of commits.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coordinator import quarantine
from coordinator.change import JobChange
from coordinator.job_store import JobStore, JobTransaction
from coordinator.store.tables import StageRow
from coordinator.terms import Terms
from luthier.errors import NotFoundError


@asynccontextmanager
async def change_job(store: JobStore, job_id: str) -> AsyncIterator[JobChange]:
    """A locked job; what happens inside is committed with its consequences, or not at all.

    Raises:
        NotFoundError: there is no such job.
    """
    async with store.transaction() as transaction:
        change = await transaction.lock_job(job_id)
        if change is None:
            raise NotFoundError(f"there is no job {job_id}")
        yield change
        await finish(transaction, change)


@asynccontextmanager
async def change_stage(store: JobStore, stage_id: str) -> AsyncIterator[tuple[JobTransaction, JobChange, StageRow]]:
    """The same for the job of a stage, with the transaction and the stage's row.

    Raises:
        NotFoundError: there is no such stage.
    """
    async with store.transaction() as transaction:
        change = await transaction.lock_job_of(stage_id)
        if change is None:
            raise NotFoundError(f"there is no stage {stage_id}")
        yield transaction, change, change.stage(stage_id)
        await finish(transaction, change)


async def judge_workers(transaction: JobTransaction, change: JobChange, terms: Terms) -> None:
    """Writes what a change says of its workers. Call it after the last `advance` and before `finish`: lock order."""
    if not change.judgements:
        return
    worker_ids = {worker_id for worker_id, _ in change.judgements}
    has_failed = not all(succeeded for _, succeeded in change.judgements)
    locked = await transaction.lock_workers(worker_ids, only_failing=not has_failed)
    workers = {worker.worker_id: worker for worker in locked}
    for worker_id, succeeded in change.judgements:
        if worker_id not in workers:
            continue
        if succeeded:
            quarantine.clear(workers[worker_id])
        else:
            quarantine.blame(workers[worker_id], change.moment, terms.quarantine)
    change.judgements.clear()


async def finish(transaction: JobTransaction, change: JobChange) -> None:
    """Draws the consequences of a change and writes all of it."""
    assert not change.judgements, "an ended try is judged first"
    change.settle()
    await transaction.save(change)
