"""How a stage moves: one table of state x fact, no I/O, no clock.

Owns which facts are legal in which state, and what has to be done then (effects, as data). Refuses everything that is
not in the table, and every fact with a stale fence. `coordinator/graph.py` says what one stage's end means for the
others and for the job; `coordinator/apply.py` carries the effects out in one transaction.

Each pair has one of three answers: legal (an `Edge`), repeat (`REPEAT`: nothing to do), illegal (no row).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from coordinator.facts import (
    ActivateDeployment,
    Blame,
    Cancelled,
    Claimed,
    Completed,
    Credit,
    Effect,
    Emit,
    Fact,
    FailDeployment,
    Failed,
    LeaseExpired,
    NeedsMet,
    OpenDeployment,
    Overlooked,
    PauseRequested,
    RegisterModel,
    Resumed,
    UpstreamFailed,
    WakeUp,
)
from coordinator.retries import MAX_WAITS, Budget, rule_of
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
    PAUSED = "PAUSED"


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
    num_waits: int = 0
    """Ended tries that used up one of `MAX_WAITS`."""
    refit: int = 0
    """How often a forward pass was halved."""
    fence: int = 0
    """Of the current or last try."""
    worker_id: str = ""
    avoid_worker_id: str = ""
    """Another worker should have the next try."""
    pause_requested: bool = False
    outputs: StageOutputs | None = None
    failure: Failure | None = None


Step = tuple[Stage, tuple[Effect, ...]]

# What a stage kind means besides its own state. A new kind with consequences is one row.
_ON_READY: dict[str, Callable[[], Effect]] = {"deploy": OpenDeployment}
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
        raise ConflictError(f"stage {stage.stage_id} is {stage.state}: {words_of(type(fact))} is not legal there")
    if isinstance(row, Repeat):
        return stage, ()
    after, effects = row.take(stage, fact)
    if after.state in TERMINAL:
        after = replace(after, pause_requested=False)
    assert after.state in row.targets, f"{stage.state} led to {after.state}, which the table does not say"
    return after, effects


def _make_ready(stage: Stage, _: NeedsMet) -> Step:
    extra = tuple(make() for kind, make in _ON_READY.items() if kind == stage.kind)
    after, effects = _hold(stage) if stage.pause_requested else _queue(stage)
    return after, (*extra, *effects)


def _queue(stage: Stage, _: Fact | None = None) -> Step:
    event = events.StageQueued(stage_id=stage.stage_id, stage_name=stage.name)
    return replace(stage, state=StageState.QUEUED, pause_requested=False), (Emit(event), WakeUp())


def _hold(stage: Stage, _: Fact | None = None) -> Step:
    event = events.StagePaused(stage_id=stage.stage_id, stage_name=stage.name, attempt=stage.attempt)
    return replace(stage, state=StageState.PAUSED, pause_requested=True), (Emit(event),)


def _mark(stage: Stage, _: PauseRequested) -> Step:
    return replace(stage, pause_requested=True), ()


def _unmark(stage: Stage, _: Resumed) -> Step:
    return replace(stage, pause_requested=False), ()


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
    after = replace(stage, state=StageState.SUCCEEDED, outputs=fact.outputs)
    return after, (Emit(event), Credit(stage.worker_id), *extra)


def _compare(stage: Stage, fact: Completed) -> Step:
    assert stage.outputs is not None, "a stage that succeeded has outputs"
    if fact.outputs.SerializeToString(deterministic=True) != stage.outputs.SerializeToString(deterministic=True):
        raise ConflictError(f"stage {stage.stage_id} has other outputs on record for fence {stage.fence}")
    return stage, ()


def _end_try(stage: Stage, fact: Failed) -> Step:
    """A try left nothing: the stage is tried again, held back, or has failed for good."""
    rule = rule_of(fact.failure.failure_class)
    culprit = stage.worker_id if fact.worker_id is None else fact.worker_id
    ended = replace(
        stage,
        num_counted=stage.num_counted + int(rule.budget is Budget.ATTEMPTS),
        num_waits=stage.num_waits + int(rule.budget is Budget.WAITS),
        refit=stage.refit + int(rule.is_refitted),
        avoid_worker_id=culprit if rule.is_tried_elsewhere else "",
        failure=fact.failure,
    )
    blame = (Blame(culprit),) if rule.is_blamed and culprit else ()
    if not rule.is_retried:
        after, effects = _fail(ended, fact.failure)
    elif (spent := _spent(ended, rule.budget)) is not None:
        failure = Failure()
        failure.CopyFrom(fact.failure)
        failure.message = f"{failure.message} ({spent})"
        after, effects = _fail(ended, failure)
    else:
        num_ended = ended.num_waits if rule.budget is Budget.WAITS else ended.num_counted
        after, effects = _try_again(
            ended, fact.failure, rule.delay_seconds(num_ended, f"{stage.stage_id}/{stage.attempt}")
        )
    return after, (*effects, *blame)


def _spent(stage: Stage, budget: Budget) -> str | None:
    """Why there is no further try, for a person; None while there is one left."""
    if budget is Budget.ATTEMPTS and stage.num_counted >= stage.max_attempts:
        times = "once" if stage.num_counted == 1 else f"{stage.num_counted} times"
        return f"tried {times}, which is all that resources.max_attempts allows"
    if budget is Budget.WAITS and stage.num_waits > MAX_WAITS:
        return f"waited and tried again {MAX_WAITS} times"
    return None


def _try_again(stage: Stage, failure: Failure, delay_seconds: float) -> Step:
    retried = events.StageRetried(
        stage_id=stage.stage_id, stage_name=stage.name, attempt=stage.attempt, failure=failure, refit=stage.refit
    )
    if not stage.pause_requested:
        return replace(stage, state=StageState.QUEUED), (Emit(retried), WakeUp(delay_seconds))
    after, effects = _hold(stage)
    # A try that only made way for the pause says nothing more than the pause does.
    made_way = failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
    return after, effects if made_way else (Emit(retried), *effects)


def _fail(stage: Stage, failure: Failure) -> Step:
    event = events.StageFailed(stage_id=stage.stage_id, stage_name=stage.name, attempt=stage.attempt, failure=failure)
    return replace(stage, state=StageState.FAILED, failure=failure), (Emit(event), *_lose(stage, failure))


def _expire(stage: Stage, fact: LeaseExpired) -> Step:
    message = f"worker {stage.worker_id} sent no heartbeat for a whole lease during attempt {stage.attempt}"
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_LOST_WORKER, message=message)
    return _end_try(stage, Failed(fact.fence, failure))


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
_P, _Q, _R, _Z = StageState.PENDING, StageState.QUEUED, StageState.RUNNING, StageState.PAUSED
_S, _F, _C, _K = StageState.SUCCEEDED, StageState.FAILED, StageState.CANCELLED, StageState.SKIPPED

TRANSITIONS: dict[tuple[StageState, type[Fact]], Edge | Repeat] = {
    (_P, NeedsMet): Edge((_Q, _Z), _make_ready),
    (_P, Overlooked): REPEAT,
    (_P, PauseRequested): Edge((_P,), _mark),
    (_P, Resumed): Edge((_P,), _unmark),
    (_P, Cancelled): Edge((_C,), _cancel),
    (_P, UpstreamFailed): Edge((_K,), _skip),
    (_Q, NeedsMet): REPEAT,
    (_Q, Claimed): Edge((_R,), _start),
    (_Q, Failed): REPEAT,
    (_Q, LeaseExpired): REPEAT,
    (_Q, Overlooked): Edge((_Q,), _wake_up),
    (_Q, PauseRequested): Edge((_Z,), _hold),
    (_Q, Resumed): REPEAT,
    (_Q, Cancelled): Edge((_C,), _cancel),
    (_R, NeedsMet): REPEAT,
    (_R, Completed): Edge((_S,), _succeed),
    (_R, Failed): Edge((_Q, _Z, _F), _end_try),
    (_R, LeaseExpired): Edge((_Q, _Z, _F), _expire),
    (_R, Overlooked): REPEAT,
    (_R, PauseRequested): Edge((_R,), _mark),
    (_R, Resumed): Edge((_R,), _unmark),
    (_R, Cancelled): Edge((_C,), _cancel),
    (_Z, NeedsMet): REPEAT,
    (_Z, Failed): REPEAT,
    (_Z, LeaseExpired): REPEAT,
    (_Z, Overlooked): REPEAT,
    (_Z, PauseRequested): REPEAT,
    (_Z, Resumed): Edge((_Q,), _queue),
    (_Z, Cancelled): Edge((_C,), _cancel),
    (_S, NeedsMet): REPEAT,
    (_S, Completed): Edge((_S,), _compare),
    (_S, LeaseExpired): REPEAT,
    (_S, Overlooked): REPEAT,
    (_S, PauseRequested): REPEAT,
    (_S, Resumed): REPEAT,
    (_S, Cancelled): REPEAT,
    (_F, NeedsMet): REPEAT,
    (_F, Failed): REPEAT,
    (_F, LeaseExpired): REPEAT,
    (_F, Overlooked): REPEAT,
    (_F, PauseRequested): REPEAT,
    (_F, Resumed): REPEAT,
    (_F, Cancelled): REPEAT,
    (_C, NeedsMet): REPEAT,
    (_C, Failed): REPEAT,
    (_C, LeaseExpired): REPEAT,
    (_C, Overlooked): REPEAT,
    (_C, PauseRequested): REPEAT,
    (_C, Resumed): REPEAT,
    (_C, Cancelled): REPEAT,
    (_C, UpstreamFailed): REPEAT,
    (_K, Overlooked): REPEAT,
    (_K, PauseRequested): REPEAT,
    (_K, Resumed): REPEAT,
    (_K, Cancelled): REPEAT,
    (_K, UpstreamFailed): REPEAT,
}


def words_of(fact: type[Fact]) -> str:
    """`LeaseExpired` as words."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in fact.__name__).strip()
