"""Claiming a stage: who gets it, under which fence, and everything that the attempt needs to know."""

from datetime import timedelta

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.apply import JobChange, change_stage
from coordinator.facts import Claimed
from coordinator.lifecycle import StageState
from coordinator.store.engine import Database
from coordinator.store.queries import list_checkpoints
from coordinator.store.render import checkpoint_message, stage_message
from coordinator.store.tables import FENCES, StageRow, WorkerRow, WorkerState
from luthier.artifacts import join
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.v1.worker_service_pb2 import StageAssignment


async def claim_stage(
    database: Database, stage_id: str, worker_id: str, request_id: str, *, lease: timedelta, artifacts: str
) -> StageAssignment | None:
    """The assignment, or None when the stage is not to be had: somebody else has it, or it rests after a failure.

    The same worker asking again with the same `request_id` gets the same assignment.

    Args:
        lease: how long the attempt lives without a heartbeat.
        artifacts: fsspec URI below which attempts write.

    Raises:
        NotFoundError: there is no such stage, or the worker has not registered.
        InvalidRequestError: the worker has said that it cannot run this.
    """
    async with database.transaction() as session:
        worker = await _find_worker(session, worker_id)
        stage = await session.get(StageRow, stage_id)
    if stage is None:
        raise NotFoundError(f"there is no stage {stage_id}")
    _check_can_run(worker, stage)
    # Most claims lose. They are answered here, without a lock; the winner is decided below, under one.
    if worker.state is WorkerState.DRAINING or not (_is_free(stage) or _is_repeat(stage, worker_id, request_id)):
        return None
    async with change_stage(database, stage_id) as (change, row):
        if not _is_repeat(row, worker_id, request_id):
            if not _is_free(row) or (row.claimable_time is not None and row.claimable_time > change.moment):
                return None
            fence: int = (await change.session.exec(select(FENCES.next_value()))).one()
            change.advance(row, Claimed(worker_id, fence))
            row.claim_request_id = request_id
            row.lease_until = change.moment + lease
        return await _assignment(change, row, artifacts)


def _is_free(stage: StageRow) -> bool:
    return stage.state is StageState.QUEUED


def _is_repeat(stage: StageRow, worker_id: str, request_id: str) -> bool:
    return stage.state is StageState.RUNNING and stage.worker_id == worker_id and stage.claim_request_id == request_id


async def _find_worker(session: AsyncSession, worker_id: str) -> WorkerRow:
    worker = await session.get(WorkerRow, worker_id)
    if worker is None:
        raise NotFoundError(f"worker {worker_id} is not known; call RegisterWorker first")
    return worker


def _check_can_run(worker: WorkerRow, stage: StageRow) -> None:
    can = worker.capabilities
    if stage.kind not in can.kinds or stage.worker_class not in can.worker_classes:
        raise InvalidRequestError(
            f"worker {worker.worker_id} takes {', '.join(can.kinds)} on {', '.join(can.worker_classes)}, "
            f"not {stage.kind} on {stage.worker_class}"
        )


async def _assignment(change: JobChange, row: StageRow, artifacts: str) -> StageAssignment:
    job = change.job
    folder = f"{job.project_id}/{job.job_id}/{row.name}/{row.attempt}-{row.fence}"
    checkpoints = await list_checkpoints(change.session, row.stage_id)
    assignment = StageAssignment(
        stage=stage_message(row),
        project_id=job.project_id,
        job_name=job.name,
        spec_json=job.spec_json,
        checkpoints=[checkpoint_message(checkpoint) for checkpoint in checkpoints],
        output_uri=join(artifacts, folder),
        traceparent=job.traceparent,
        model_id=job.model_id or "",
        deployment_id=job.deployment_id or "",
    )
    for stage in change.stages:
        if stage.name in row.needs:
            assert stage.outputs is not None, "a queued stage's needs have succeeded"
            assignment.inputs[stage.name].CopyFrom(stage.outputs)
    return assignment
