"""Workers: announcing one, its heartbeats, and the leases that they renew."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, func, select, update

from coordinator.lifecycle import StageState
from coordinator.store.engine import Database, now
from coordinator.store.notifications import PROGRESS_CHANNEL, announce
from coordinator.store.render import worker_message
from coordinator.store.tables import JobRow, StageRow, WorkerRow, WorkerState
from luthier.errors import NotFoundError
from luthier.v1.stage_pb2 import Progress
from luthier.v1.worker_pb2 import Worker, WorkerCapabilities
from luthier.v1.worker_service_pb2 import StageHeartbeat, StageVerdict


async def register_worker(
    database: Database, worker_id: str, display_name: str, capabilities: WorkerCapabilities
) -> Worker:
    """Records a worker, or what is new about one that is known."""
    async with database.transaction() as session:
        moment = await now(session)
        row = {
            "display_name": display_name,
            "capabilities": capabilities,
            "state": WorkerState.READY,
            "register_time": moment,
            "heartbeat_time": moment,
        }
        query = insert(WorkerRow).values(worker_id=worker_id, **row)
        query = query.on_conflict_do_update(index_elements=["worker_id"], set_=row)
        await session.exec(query)
        worker = await session.get_one(WorkerRow, worker_id)
    return worker_message(worker)


async def heartbeat(
    database: Database, worker_id: str, is_draining: bool, stages: Sequence[StageHeartbeat], *, lease: timedelta
) -> list[StageVerdict]:
    """Renews the worker, then each lease in a transaction of its own, so that no two locks are held at once.

    Raises:
        NotFoundError: the worker has not registered.
    """
    state = WorkerState.DRAINING if is_draining else WorkerState.READY
    async with database.transaction() as session:
        query = update(WorkerRow).where(col(WorkerRow.worker_id) == worker_id)
        query = query.values(state=state, heartbeat_time=func.clock_timestamp())
        found = await session.exec(query.returning(col(WorkerRow.worker_id)))
        if found.first() is None:
            raise NotFoundError(f"worker {worker_id} is not known; call RegisterWorker first")
    return [await _renew(database, worker_id, stage, lease) for stage in stages]


async def _renew(database: Database, worker_id: str, pulse: StageHeartbeat, lease: timedelta) -> StageVerdict:
    async with database.transaction() as session:
        query = select(StageRow).where(StageRow.stage_id == pulse.stage_id).with_for_update()
        row = (await session.exec(query)).one_or_none()
        if row is None or row.fence != pulse.fence or row.worker_id != worker_id:
            return _verdict(pulse, StageVerdict.VERDICT_LOST_LEASE)
        if row.state is StageState.CANCELLED:
            return _verdict(pulse, StageVerdict.VERDICT_CANCEL)
        if row.state is not StageState.RUNNING:
            return _verdict(pulse, StageVerdict.VERDICT_LOST_LEASE)
        moment = await now(session)
        row.lease_until = moment + lease
        if pulse.HasField("progress") and row.progress != pulse.progress:
            if _moved(row.progress, pulse.progress):
                row.progress_time = moment
            row.progress = pulse.progress
            job = await session.get_one(JobRow, row.job_id)
            await announce(session, PROGRESS_CHANNEL, job.project_id, job.job_id)
        verdict = _verdict(pulse, StageVerdict.VERDICT_OK)
        verdict.lease_until.FromDatetime(row.lease_until)
        return verdict


def _moved(before: Progress | None, after: Progress) -> bool:
    """Whether the runner got on; a new estimate of the time left alone is no progress."""
    return before is None or (before.step, before.message) != (after.step, after.message)


def _verdict(pulse: StageHeartbeat, verdict: StageVerdict.Verdict) -> StageVerdict:
    return StageVerdict(stage_id=pulse.stage_id, verdict=verdict)
