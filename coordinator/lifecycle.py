"""How a stage moves: one table of state x fact, no I/O, no clock.

Owns which facts are legal in which state, and what has to be done then (effects, as data). Refuses everything that is
not in the table, and every fact with a stale fence. `coordinator/graph.py` says what one stage's end means for the
others and for the job; `coordinator/apply.py` carries the effects out in one transaction.

Each pair has one of three answers: legal (an `Edge`), repeat (`REPEAT`: nothing to do), illegal (no row).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from coordinator.facts import (
    ActivateDeployment,
    Cancelled,
    Claimed,
    Completed,
    Effect,
    Emit,
    Fact,
    FailDeployment,
    Failed,
    LeaseExpired,
    NeedsMet,
    OpenDeployment,
    Overlooked,
    RegisterModel,
    UpstreamFailed,
    WakeUp,
)
from coordinator.retries import rule_of
from luthier.errors import ConflictError
from luthier.v1 import event_pb2 as events
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import StageOutputs


class StageState(StrEnum):
    """Where a stage stands; the names of `Stage.State` in the protos."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"


TERMINAL = frozenset({StageState.SUCCEEDED, StageState.FAILED, StageState.CANCELLED, StageState.SKIPPED})


@dataclass(frozen=True)
class Stage:
    """What the table needs to know of a stage."""

    stage_id: str
    name: str
    kind: str
    needs: tuple[str, ...] = ()
    max_attempts: int = 4
    state: StageState = StageState.PENDING
    attempt: int = 0
    """Number of the current or last try."""
    num_counted: int = 0
    """Ended tries that used up one of `max_attempts`."""
    fence: int = 0
    """Of the current or last try."""
    worker_id: str = ""
    outputs: StageOutputs | None = None
    failure: Failure | None = None


Step = tuple[Stage, tuple[Effect, ...]]

# What a stage kind means besides its own state. A new kind with consequences is one row.
_ON_QUEUED: dict[str, Callable[[], Effect]] = {"deploy": OpenDeployment}
_ON_SUCCESS: dict[str, Callable[[StageOutputs], Effect]] = {"export": RegisterModel, "deploy": ActivateDeployment}
_ON_LOSS: dict[str, Callable[[Failure], Effect]] = {"deploy": FailDeployment}


def advance(stage: Stage, fact: Fact) -> Step:
    """The stage after `fact`, and what has to be done; no effects for a repeat.

    Raises:
        ConflictError: the fact is illegal in this state, or its fence is stale.
    """
    fence = getattr(fact, "fence", stage.fence)
    if fence != stage.fence and not isinstance(fact, Claimed):
        raise ConflictError(f"stage {stage.stage_id}: fence {fence} is stale, the present one is {stage.fence}")
    row = TRANSITIONS.get((stage.state, type(fact)))
    if row is None:
        raise ConflictError(f"stage {stage.stage_id} is {stage.state}: {_label(type(fact))} is not legal there")
    if isinstance(row, Repeat):
        return stage, ()
    after, effects = row.take(stage, fact)
    assert after.state in row.targets, f"{stage.state} led to {after.state}, which the table does not say"
    return after, effects


def _queue(stage: Stage, _: NeedsMet) -> Step:
    extra = tuple(make() for kind, make in _ON_QUEUED.items() if kind == stage.kind)
    event = events.StageQueued(stage_id=stage.stage_id, stage_name=stage.name)
    return replace(stage, state=StageState.QUEUED), (*extra, Emit(event), WakeUp())


def _start(stage: Stage, fact: Claimed) -> Step:
    assert fact.fence > stage.fence, "a fence has to rise"
    after = replace(
        stage,
        state=StageState.RUNNING,
        attempt=stage.attempt + 1,
        fence=fact.fence,
        worker_id=fact.worker_id,
        failure=None,
    )
    event = events.StageStarted(
        stage_id=stage.stage_id,
        stage_name=stage.name,
        worker_id=fact.worker_id,
        attempt=after.attempt,
        fence=fact.fence,
    )
    return after, (Emit(event),)


def _succeed(stage: Stage, fact: Completed) -> Step:
    extra = tuple(make(fact.outputs) for kind, make in _ON_SUCCESS.items() if kind == stage.kind)
    event = events.StageSucceeded(
        stage_id=stage.stage_id, stage_name=stage.name, attempt=stage.attempt, outputs=fact.outputs
    )
    return replace(stage, state=StageState.SUCCEEDED, outputs=fact.outputs), (Emit(event), *extra)


def _compare(stage: Stage, fact: Completed) -> Step:
    assert stage.outputs is not None, "a stage that succeeded has outputs"
    if fact.outputs.SerializeToString(deterministic=True) != stage.outputs.SerializeToString(deterministic=True):
        raise ConflictError(f"stage {stage.stage_id} has other outputs on record for fence {stage.fence}")
    return stage, ()


def _fail_or_retry(stage: Stage, fact: Failed) -> Step:
    rule = rule_of(fact.failure.failure_class)
    num_counted = stage.num_counted + int(rule.is_counted)
    ended = replace(stage, num_counted=num_counted, failure=fact.failure)
    stage_id, name, attempt = stage.stage_id, stage.name, stage.attempt
    if rule.is_retried and num_counted < stage.max_attempts:
        retried = events.StageRetried(stage_id=stage_id, stage_name=name, attempt=attempt, failure=fact.failure)
        return replace(ended, state=StageState.QUEUED), (Emit(retried), WakeUp(rule.delay_seconds(num_counted)))
    failed = events.StageFailed(stage_id=stage_id, stage_name=name, attempt=attempt, failure=fact.failure)
    return replace(ended, state=StageState.FAILED), (Emit(failed), *_lose(stage, fact.failure))


def _expire(stage: Stage, fact: LeaseExpired) -> Step:
    message = f"worker {stage.worker_id} sent no heartbeat for a whole lease during attempt {stage.attempt}"
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_LOST_WORKER, message=message)
    return _fail_or_retry(stage, Failed(fact.fence, failure))


def _wake_up(stage: Stage, _: Overlooked) -> Step:
    return stage, (WakeUp(),)


def _cancel(stage: Stage, _: Cancelled) -> Step:
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_CANCELLED, message="the job was cancelled")
    event = events.StageCancelled(stage_id=stage.stage_id, stage_name=stage.name)
    # A deploy stage that still waits for its needs has no deployment yet.
    lost = _lose(stage, failure) if stage.state is not StageState.PENDING else ()
    return replace(stage, state=StageState.CANCELLED, failure=failure), (Emit(event), *lost)


def _skip(stage: Stage, fact: UpstreamFailed) -> Step:
    event = events.StageSkipped(stage_id=stage.stage_id, stage_name=stage.name, reason=fact.reason)
    return replace(stage, state=StageState.SKIPPED), (Emit(event),)


def _lose(stage: Stage, failure: Failure) -> tuple[Effect, ...]:
    return tuple(make(failure) for kind, make in _ON_LOSS.items() if kind == stage.kind)


@dataclass(frozen=True)
class Edge:
    """A legal fact: where it can lead, and the function that decides."""

    targets: tuple[StageState, ...]
    take: Callable[[Stage, Any], Step]


class Repeat:
    """A fact that says what is known already."""


REPEAT = Repeat()
_P, _Q, _R = StageState.PENDING, StageState.QUEUED, StageState.RUNNING
_S, _F, _C, _K = StageState.SUCCEEDED, StageState.FAILED, StageState.CANCELLED, StageState.SKIPPED

TRANSITIONS: dict[tuple[StageState, type[Fact]], Edge | Repeat] = {
    (_P, NeedsMet): Edge((_Q,), _queue),
    (_P, Overlooked): REPEAT,
    (_P, Cancelled): Edge((_C,), _cancel),
    (_P, UpstreamFailed): Edge((_K,), _skip),
    (_Q, NeedsMet): REPEAT,
    (_Q, Claimed): Edge((_R,), _start),
    (_Q, Failed): REPEAT,
    (_Q, LeaseExpired): REPEAT,
    (_Q, Overlooked): Edge((_Q,), _wake_up),
    (_Q, Cancelled): Edge((_C,), _cancel),
    (_R, NeedsMet): REPEAT,
    (_R, Completed): Edge((_S,), _succeed),
    (_R, Failed): Edge((_Q, _F), _fail_or_retry),
    (_R, LeaseExpired): Edge((_Q, _F), _expire),
    (_R, Overlooked): REPEAT,
    (_R, Cancelled): Edge((_C,), _cancel),
    (_S, NeedsMet): REPEAT,
    (_S, Completed): Edge((_S,), _compare),
    (_S, LeaseExpired): REPEAT,
    (_S, Overlooked): REPEAT,
    (_S, Cancelled): REPEAT,
    (_F, NeedsMet): REPEAT,
    (_F, Failed): REPEAT,
    (_F, LeaseExpired): REPEAT,
    (_F, Overlooked): REPEAT,
    (_F, Cancelled): REPEAT,
    (_C, NeedsMet): REPEAT,
    (_C, Failed): REPEAT,
    (_C, LeaseExpired): REPEAT,
    (_C, Overlooked): REPEAT,
    (_C, Cancelled): REPEAT,
    (_C, UpstreamFailed): REPEAT,
    (_K, Overlooked): REPEAT,
    (_K, Cancelled): REPEAT,
    (_K, UpstreamFailed): REPEAT,
}


def mermaid() -> str:
    """The table as a Mermaid state diagram; edges that change nothing are left out."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for (state, fact), row in TRANSITIONS.items():
        if isinstance(row, Edge):
            lines += [f"    {state} --> {target}: {_label(fact)}" for target in row.targets if target is not state]
    lines += [f"    {state} --> [*]" for state in StageState if state in TERMINAL]
    return "\n".join(lines)


def _label(fact: type[Fact]) -> str:
    """`LeaseExpired` as words."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", fact.__name__).lower()
