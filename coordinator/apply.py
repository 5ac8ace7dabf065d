"""One transaction on one job: lock, decide, write. The imperative shell around `coordinator/change.py`.

Every state change of the platform passes through here. The project's counter is taken last and held until the commit,
which makes the sequence dense and equal to the order of commits.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from coordinator.change import JobChange
from coordinator.job_store import JobStore, JobTransaction
from coordinator.store.tables import StageRow
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


async def finish(transaction: JobTransaction, change: JobChange) -> None:
    """Draws the consequences of a change and writes all of it."""
    change.settle()
    await transaction.save(change)
