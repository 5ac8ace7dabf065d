"""What the stages of one job mean for each other and for the job. Pure, and level-triggered: asking twice is safe.

A job has no state of its own making: it is derived from its stages, here and nowhere else.
"""

from collections.abc import Sequence
from enum import StrEnum

from google.protobuf.message import Message

from coordinator.facts import Cancelled, Fact, NeedsMet, PauseRequested, Resumed, UpstreamFailed
from coordinator.lifecycle import TERMINAL, Stage, StageState
from luthier.errors import ConflictError
from luthier.v1 import event_pb2 as events
from luthier.v1.failure_pb2 import Failure, FailureClass

# How a stage that its dependants waited for has ended, in words.
_ENDS = {StageState.FAILED: "failed", StageState.CANCELLED: "was cancelled", StageState.SKIPPED: "was skipped"}

# Kinds whose outputs carry the gate's verdict.
GATED_KINDS = frozenset({"evaluate"})


class JobState(StrEnum):
    """Where a job stands; the names of `Job.State` in the protos."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"


JOB_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


def job_state(stages: Sequence[Stage]) -> JobState:
    """The job's state; terminal only when every stage is."""
    states = {stage.state for stage in stages}
    if StageState.PAUSED in states and not states & {StageState.QUEUED, StageState.RUNNING}:
        return JobState.PAUSED
    if not states <= TERMINAL:
        return JobState.RUNNING if any(stage.attempt for stage in stages) else JobState.PENDING
    if StageState.CANCELLED in states:
        return JobState.CANCELLED
    return JobState.SUCCEEDED if states == {StageState.SUCCEEDED} else JobState.FAILED


def job_failure(stages: Sequence[Stage]) -> Failure | None:
    """Why the job will not succeed: a stage's failure, or the gate's refusal; None while neither is there."""
    for stage in stages:
        if stage.state is StageState.FAILED:
            return stage.failure
        if is_refused(stage):
            return Failure(failure_class=FailureClass.FAILURE_CLASS_GATE_REFUSED, message=_refusal(stage))
    return None


def job_event(before: JobState, after: JobState, failure: Failure | None) -> list[Message]:
    """The events of a change of the job's state; a job can start and end in one step."""
    made: list[Message] = []
    if before is after:
        return made
    if before is JobState.PENDING and after not in (JobState.PAUSED, JobState.CANCELLED):
        made.append(events.JobStarted())
    if after is JobState.SUCCEEDED:
        made.append(events.JobSucceeded())
    elif after is JobState.FAILED:
        made.append(events.JobFailed(failure=failure))
    elif after is JobState.CANCELLED:
        made.append(events.JobCancelled())
    elif after is JobState.PAUSED:
        made.append(events.JobPaused())
    return made


def follow(stages: Sequence[Stage]) -> list[tuple[Stage, Fact]]:
    """Facts that other stages make true for PENDING ones. Apply them and ask again, until none is left."""
    by_name = {stage.name: stage for stage in stages}
    found: list[tuple[Stage, Fact]] = []
    for stage in stages:
        if stage.state is not StageState.PENDING:
            continue
        needs = [by_name[name] for name in stage.needs]
        blocker = next((need for need in needs if _blocks(need)), None)
        if blocker is not None:
            found.append((stage, UpstreamFailed(_reason(blocker))))
        elif all(need.state is StageState.SUCCEEDED for need in needs):
            found.append((stage, NeedsMet()))
    return found


def cancel(state: JobState, stages: Sequence[Stage]) -> list[tuple[Stage, Fact]]:
    """Facts of cancelling a job in `state`; none for a repeat.

    Raises:
        ConflictError: the job has ended otherwise.
    """
    if state in (JobState.SUCCEEDED, JobState.FAILED):
        raise ConflictError(f"the job has {state} already; only one that has not ended can be cancelled")
    return [(stage, Cancelled()) for stage in stages if stage.state not in TERMINAL]


def pause(state: JobState, stages: Sequence[Stage]) -> list[tuple[Stage, Fact]]:
    """Facts of pausing a job in `state`; none for a repeat.

    Raises:
        ConflictError: the job has ended.
    """
    if state in JOB_TERMINAL:
        raise ConflictError(f"the job has {state} already; only one that has not ended can be paused")
    return [(stage, PauseRequested()) for stage in stages if stage.state not in TERMINAL and not stage.pause_requested]


def resume(state: JobState, stages: Sequence[Stage]) -> list[tuple[Stage, Fact]]:
    """Facts of resuming a job in `state`; none when nothing is paused.

    Raises:
        ConflictError: the job has ended.
    """
    if state in JOB_TERMINAL:
        raise ConflictError(f"the job has {state} already; only one that was paused can be resumed")
    return [(stage, Resumed()) for stage in stages if stage.pause_requested]


def is_refused(stage: Stage) -> bool:
    """Whether this stage's gate refused the model."""
    return (
        stage.kind in GATED_KINDS
        and stage.state is StageState.SUCCEEDED
        and stage.outputs is not None
        and not stage.outputs.gate_passed
    )


def _blocks(need: Stage) -> bool:
    return is_refused(need) or need.state in TERMINAL - {StageState.SUCCEEDED}


def _reason(need: Stage) -> str:
    return _refusal(need) if is_refused(need) else f"stage {need.name} {_ENDS[need.state]}"


def _refusal(stage: Stage) -> str:
    reason = stage.outputs.gate_reason if stage.outputs is not None else ""
    return f"the gate of stage {stage.name} refused the model: {reason or 'no reason was given'}"
