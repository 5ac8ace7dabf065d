"""Claiming a stage: who gets it, under which fence, and everything that the attempt needs to know."""

from collections.abc import Sequence
from datetime import datetime

from coordinator.apply import finish
from coordinator.change import JobChange
from coordinator.facts import Claimed
from coordinator.job_store import JobStore
from coordinator.lifecycle import StageState
from coordinator.store.render import checkpoint_message, stage_message
from coordinator.store.tables import CheckpointRow, StageRow, WorkerRow, WorkerState
from coordinator.terms import Terms
from luthier.artifacts import join
from luthier.errors import InvalidRequestError, NotFoundError
from luthier.v1.worker_service_pb2 import StageAssignment


async def claim_stage(
    store: JobStore, stage_id: str, worker_id: str, request_id: str, terms: Terms
) -> StageAssignment | None:
    """The assignment, or None when the stage is not to be had: somebody else has it, or it rests after a failure.

    The same worker asking again with the same `request_id` gets the same assignment.

    Raises:
        NotFoundError: there is no such stage, or the worker has not registered.
        InvalidRequestError: the worker has said that it cannot run this.
    """
    async with store.transaction() as transaction:
        stage, worker = await transaction.find_claim(stage_id, worker_id)
        if stage is None:
            raise NotFoundError(f"there is no stage {stage_id}")
        if worker is None:
            raise NotFoundError(f"worker {worker_id} is not known; call RegisterWorker first")
        check_can_run(worker, stage)
        # Most claims lose. They are answered here, without a lock; the winner is decided below, under one.
        if worker.state is WorkerState.DRAINING or not may_win(stage, worker_id, request_id):
            return None
        change = await transaction.lock_job_of(stage_id)
        assert change is not None, "a stage has a job, and neither is ever deleted"
        row = change.stage(stage_id)
        if not is_repeat(row, worker_id, request_id):
            if not is_claimable(row, change.moment):
                return None
            change.advance(row, Claimed(worker_id, await transaction.next_fence()))
            row.claim_request_id = request_id
            row.lease_until = change.moment + terms.lease
        await finish(transaction, change)
        checkpoints = await transaction.list_checkpoints(stage_id) if row.attempt > 1 else []
        return assignment_of(change, row, checkpoints, terms.artifacts)


def is_repeat(stage: StageRow, worker_id: str, request_id: str) -> bool:
    """Whether this very claim has won before."""
    return stage.state is StageState.RUNNING and stage.worker_id == worker_id and stage.claim_request_id == request_id


def may_win(stage: StageRow, worker_id: str, request_id: str) -> bool:
    """Whether a claim is worth a lock."""
    return stage.state is StageState.QUEUED or is_repeat(stage, worker_id, request_id)


def is_claimable(stage: StageRow, moment: datetime) -> bool:
    """Whether it waits for a worker, and its back-off is over."""
    return stage.state is StageState.QUEUED and (stage.claimable_time is None or stage.claimable_time <= moment)


def can_run(worker: WorkerRow, stage: StageRow) -> bool:
    """Whether the worker has said that it takes stages like this."""
    can = worker.capabilities
    return stage.kind in can.kinds and stage.worker_class in can.worker_classes


def check_can_run(worker: WorkerRow, stage: StageRow) -> None:
    """Passes what `can_run`.

    Raises:
        InvalidRequestError: saying what the worker takes.
    """
    if not can_run(worker, stage):
        can = worker.capabilities
        raise InvalidRequestError(
            f"worker {worker.worker_id} takes {', '.join(can.kinds)} on {', '.join(can.worker_classes)}, "
            f"not {stage.kind} on {stage.worker_class}"
        )


def assignment_of(
    change: JobChange, row: StageRow, checkpoints: Sequence[CheckpointRow], artifacts: str
) -> StageAssignment:
    """Everything that the present attempt of `row` needs to know."""
    job = change.job
    folder = f"{job.project_id}/{job.job_id}/{row.name}/{row.attempt}-{row.fence}"
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
