"""One transaction on a job or on several: lock, decide, write. The imperative shell around `coordinator/change.py`.

Every state change of the platform passes through here. The project's counter is taken last and held until the commit,
which makes the sequence dense and equal to the order of commits.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from coordinator import quarantine
from coordinator.change import JobChange
from coordinator.job_store import JobStore, JobTransaction
from coordinator.store.tables import StageRow, WorkerRow
from coordinator.terms import Terms
from luthier.errors import NotFoundError


@asynccontextmanager
async def change_job(store: JobStore, job_id: str) -> AsyncIterator[JobChange]:
    """A locked job; what happens inside is committed with its consequences, or not at all.

    Raises:
        NotFoundError: there is no such job.
    """
    async with store.transaction() as transaction:
        change = (await transaction.lock_jobs([job_id])).get(job_id)
        if change is None:
            raise NotFoundError(f"there is no job {job_id}")
        yield change
        await finish(transaction, [change])


@asynccontextmanager
async def change_stage(store: JobStore, stage_id: str) -> AsyncIterator[tuple[JobTransaction, JobChange, StageRow]]:
    """The same for the job of a stage, with the transaction and the stage's row.

    Raises:
        NotFoundError: there is no such stage.
    """
    async with store.transaction() as transaction:
        change = (await transaction.lock_jobs_of([stage_id])).get(stage_id)
        if change is None:
            raise NotFoundError(f"there is no stage {stage_id}")
        yield transaction, change, change.stage(stage_id)
        await finish(transaction, [change])


async def judge_workers(
    transaction: JobTransaction,
    changes: Collection[JobChange],
    terms: Terms,
    *,
    further: Collection[str] = (),
    sound: Collection[str] = (),
) -> Mapping[str, WorkerRow]:
    """Writes what changes say of their workers. Call it after the last `advance` and before `finish`: lock order.

    Workers are locked here once and nowhere else in the transaction, those of the ids `further` too; those of the ids
    `sound` have no failures that a success could clear. Returns the locked ones by id.
    """
    judgements = [(change, *judgement) for change in changes for judgement in change.judgements]
    blamed = {worker_id for _, worker_id, has_succeeded in judgements if not has_succeeded}
    credited = {worker_id for _, worker_id, has_succeeded in judgements if has_succeeded}
    locked = await transaction.lock_workers(blamed.union(further), if_failing=credited.difference(sound))
    workers = {worker.worker_id: worker for worker in locked}
    for change, worker_id, has_succeeded in judgements:
        if worker_id not in workers:
            continue
        if has_succeeded:
            quarantine.clear(workers[worker_id])
        else:
            quarantine.blame(workers[worker_id], change.moment, terms.quarantine)
    for change in changes:
        change.judgements.clear()
    return workers


async def finish(transaction: JobTransaction, changes: Collection[JobChange]) -> None:
    """Draws the consequences of changes and writes all of them."""
    for change in changes:
        assert not change.judgements, "an ended try is judged first"
        change.settle()
    await transaction.save(changes)
