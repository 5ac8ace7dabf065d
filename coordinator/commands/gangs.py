"""A member leaves its gang: its part is done, or it cannot do it."""

from coordinator import seating
from coordinator.apply import change_stage, judge_workers
from coordinator.commands.ends import bounded
from coordinator.job_store import JobStore
from coordinator.terms import Terms
from luthier.v1.failure_pb2 import Failure


async def leave_gang(
    store: JobStore, terms: Terms, stage_id: str, fence: int, worker_id: str, failure: Failure | None
) -> None:
    """See `seating.leave`. Nothing happens when the worker has no seat any more, or the attempt has ended.

    Raises:
        NotFoundError: there is no such stage.
    """
    async with change_stage(store, stage_id) as (transaction, change, row):
        if row.fence == fence and worker_id in seating.members_of(row):
            seating.leave(change, row, worker_id, None if failure is None else bounded(failure))
            await judge_workers(transaction, [change], terms)
