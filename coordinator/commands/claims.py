"""Claiming a stage: who may have it, and everything that the attempt needs to know. Pure, but for the face.

The order in which rows are locked for it is `coordinator/batch.py`'s.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from coordinator.calls import Carrier, Claim
from coordinator.change import JobChange
from coordinator.facts import Claimed
from coordinator.lifecycle import StageState
from coordinator.seating import has_seat, may_sit, open_gang, place_of
from coordinator.store.render import checkpoint_message, stage_message
from coordinator.store.tables import CheckpointRow, StageRow, WorkerRow, WorkerState
from coordinator.terms import Terms
from luthier.artifacts import join
from luthier.errors import InvalidRequestError
from luthier.v1.worker_service_pb2 import ClaimStageResponse, StageAssignment

AVOIDED_FOR = timedelta(seconds=10)
"""How long after a failed try its worker leaves the stage to others."""


async def claim_stage(carrier: Carrier, stage_id: str, worker_id: str, request_id: str) -> ClaimStageResponse:
    """The assignment; none when the stage is not to be had: somebody else has it, or it rests after a failure.

    The same worker asking again with the same `request_id` gets the same assignment. A stage that this worker should
    leave to another one is answered with `try_elsewhere`.

    Raises:
        NotFoundError: there is no such stage, or the worker has not registered.
        InvalidRequestError: the worker has said that it cannot run this.
    """
    return await carrier.carry_out(Claim(stage_id, worker_id, request_id))


def take(change: JobChange, row: StageRow, worker_id: str, request_id: str, fence: int, terms: Terms) -> None:
    """Begins an attempt: the stage is this worker's, and its lease runs from the moment of the change.

    If several workers are to share it, this one leads them and the others are called.
    """
    change.advance(row, Claimed(worker_id, fence))
    row.claim_request_id = request_id
    row.lease_until = change.moment + terms.lease
    open_gang(change, row, terms)


def can_go_on(worker: WorkerRow, stage: StageRow, moment: datetime) -> bool:
    """Whether a worker that has just succeeded may have a stage that this made ready, without a wake-up.

    What is doubtful goes the long way, over a claim: a worker that was in quarantine until now is.
    """
    is_sound = worker.state is WorkerState.READY and worker.quarantined_until is None
    return is_sound and can_run(worker, stage) and not is_avoided(stage, worker.worker_id, moment)


def is_repeat(stage: StageRow, worker_id: str, request_id: str) -> bool:
    """Whether this very claim has won before, the stage or a seat in its gang."""
    if stage.state is not StageState.RUNNING:
        return False
    is_leader = stage.worker_id == worker_id and stage.claim_request_id == request_id
    return is_leader or has_seat(stage, worker_id, request_id)


def may_win(stage: StageRow, worker_id: str, request_id: str) -> bool:
    """Whether the stage waits for a worker, for the first one or for another of its gang, or this claim has it already.

    A claim that had it once, and whose attempt has ended, is a late repeat: nobody would run what it gets.
    """
    is_last = (stage.worker_id, stage.claim_request_id) == (worker_id, request_id)
    if stage.state is StageState.QUEUED:
        return not is_last
    return is_repeat(stage, worker_id, request_id) or may_sit(stage, worker_id)


def is_rested(stage: StageRow, moment: datetime) -> bool:
    """Whether its back-off is over."""
    return stage.claimable_time is None or stage.claimable_time <= moment


def is_avoided(stage: StageRow, worker_id: str, moment: datetime) -> bool:
    """Whether others go first, because the stage's last try failed on this worker a moment ago."""
    since = stage.claimable_time or stage.queued_time
    return stage.avoid_worker_id == worker_id and since is not None and moment < since + AVOIDED_FOR


def can_take_over(other: WorkerRow, stage: StageRow, worker_id: str) -> bool:
    """Whether `other`, which is READY, could run a stage instead of `worker_id`."""
    return other.worker_id != worker_id and other.quarantined_until is None and can_run(other, stage)


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
    change: JobChange, row: StageRow, checkpoints: Sequence[CheckpointRow], artifacts: str, worker_id: str
) -> StageAssignment:
    """Everything that `worker_id` needs to know for its part in the present attempt of `row`."""
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
        gang=place_of(row, worker_id),
    )
    for stage in change.stages:
        if stage.name in row.needs:
            assert stage.outputs is not None, "a queued stage's needs have succeeded"
            assignment.inputs[stage.name].CopyFrom(stage.outputs)
    return assignment
