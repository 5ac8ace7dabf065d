"""Workers: announcing one, its heartbeats, and the leases that they renew."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from coordinator import quarantine
from coordinator.job_store import JobStore
from coordinator.lifecycle import StageState
from coordinator.seating import meet_at, members_of, place_of, renew_seat
from coordinator.store.render import worker_message
from coordinator.store.tables import StageRow, WorkerRow
from luthier.errors import ConflictError, NotFoundError
from luthier.v1.stage_pb2 import Progress
from luthier.v1.worker_pb2 import Worker, WorkerCapabilities
from luthier.v1.worker_service_pb2 import StageHeartbeat, StageVerdict

# Answers that come with a renewed lease.
RENEWING = frozenset({StageVerdict.VERDICT_OK, StageVerdict.VERDICT_PAUSE})


async def register_worker(
    store: JobStore, worker_id: str, display_name: str, capabilities: WorkerCapabilities, instance_id: str = ""
) -> Worker:
    """Records a worker, or what is new about one that is known; its failures stay on record.

    From now on the worker is the process `instance_id`: another one that has the same worker id is fenced off.
    """
    async with store.transaction() as transaction:
        moment = await transaction.now()
        new = WorkerRow(
            worker_id=worker_id,
            instance_id=instance_id,
            display_name=display_name,
            capabilities=capabilities,
            register_time=moment,
            heartbeat_time=moment,
        )
        await transaction.put_worker(new)
        (worker,) = await transaction.lock_workers([worker_id])
        worker.instance_id, worker.display_name, worker.capabilities = instance_id, display_name, capabilities
        worker.register_time = worker.heartbeat_time = moment
        worker.state = quarantine.present_state(worker)
    return worker_message(worker)


async def release_worker(store: JobStore, worker_id: str) -> Worker:
    """Ends a quarantine and forgets the failures that led to it; a repeat is a no-op.

    Raises:
        NotFoundError: there is no such worker.
    """
    async with store.transaction() as transaction:
        for worker in await transaction.lock_workers([worker_id]):
            quarantine.clear(worker)
            return worker_message(worker)
    raise NotFoundError(f"there is no worker {worker_id}")


async def heartbeat(
    store: JobStore,
    worker_id: str,
    is_draining: bool,
    stages: Sequence[StageHeartbeat],
    lease: timedelta,
    instance_id: str = "",
) -> list[StageVerdict]:
    """Renews the worker, then each lease in a transaction of its own, so that no two locks are held at once.

    Raises:
        NotFoundError: the worker has not registered.
        ConflictError: another process has registered as this worker since.
    """
    async with store.transaction() as transaction:
        for worker in await transaction.lock_workers([worker_id]):
            if worker.instance_id != instance_id:
                raise ConflictError(f"another process has registered as worker {worker_id}; this one has to leave")
            worker.heartbeat_time = await transaction.now()
            worker.state = quarantine.present_state(worker, is_draining=is_draining)
            break
        else:
            raise NotFoundError(f"worker {worker_id} is not known; call RegisterWorker first")
    return [await _renew(store, worker_id, pulse, lease) for pulse in stages]


async def _renew(store: JobStore, worker_id: str, pulse: StageHeartbeat, lease: timedelta) -> StageVerdict:
    async with store.transaction() as transaction:
        row = await transaction.lock_stage(pulse.stage_id)
        answer = verdict_on(row, worker_id, pulse.fence)
        verdict = StageVerdict(stage_id=pulse.stage_id, verdict=answer)
        if row is not None and answer in RENEWING:
            moment = await transaction.now()
            if row.worker_id != worker_id:
                renew_seat(row, worker_id, moment, lease)
            elif renew(row, pulse, moment, lease):
                await transaction.announce_progress(await transaction.find_project_of_job(row.job_id), row.job_id)
            verdict.lease_until.FromDatetime(moment + lease)
            if (place := place_of(row, worker_id)) is not None:
                verdict.gang.CopyFrom(place)
        return verdict


def verdict_on(row: StageRow | None, worker_id: str, fence: int) -> StageVerdict.Verdict:
    """What a worker has to do with the attempt that it holds by `fence`."""
    if row is None or row.fence != fence or worker_id not in (row.worker_id, *members_of(row)):
        return StageVerdict.VERDICT_LOST_LEASE
    if row.state is StageState.CANCELLED:
        return StageVerdict.VERDICT_CANCEL
    if row.state is not StageState.RUNNING:
        return StageVerdict.VERDICT_LOST_LEASE
    must_stop = row.pause_requested or (row.gang is not None and row.gang.is_leaving)
    return StageVerdict.VERDICT_PAUSE if must_stop else StageVerdict.VERDICT_OK


def renew(row: StageRow, pulse: StageHeartbeat, moment: datetime, lease: timedelta) -> bool:
    """Lets the attempt live for another lease; whether there is progress to show."""
    row.lease_until = moment + lease
    meet_at(row, pulse.address, moment)
    if not pulse.HasField("progress") or row.progress == pulse.progress:
        return False
    if _moved(row.progress, pulse.progress):
        row.progress_time = moment
    row.progress = pulse.progress
    return True


def _moved(before: Progress | None, after: Progress) -> bool:
    """Whether the runner got on; a new estimate of the time left alone is no progress."""
    return before is None or (before.step, before.message) != (after.step, after.message)
