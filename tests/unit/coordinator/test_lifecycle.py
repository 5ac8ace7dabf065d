"""The whole state x fact product, stale fences, effects, and the diagram."""

import itertools
from dataclasses import replace

import pytest

from coordinator.diagram import mermaid
from coordinator.facts import (
    FACTS,
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
from coordinator.lifecycle import TERMINAL, TRANSITIONS, Stage, StageState, advance
from coordinator.retries import MAX_WAITS
from luthier.errors import ConflictError
from luthier.v1.event_pb2 import Event
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import StageOutputs

OUTPUTS = StageOutputs(metrics={"loss": 1.0}, gate_passed=True)
LEGAL, REPEAT, ILLEGAL = "legal", "repeat", "illegal"

# The answer for each state, in the order PENDING, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, SKIPPED, PAUSED.
ANSWERS: dict[type[Fact], str] = {
    NeedsMet: "LRRRRRIR",
    Claimed: "ILIIIIII",
    Completed: "IILRIIII",
    Failed: "IRLIRRIR",
    LeaseExpired: "IRLRRRIR",
    Overlooked: "RLRRRRRR",
    PauseRequested: "LLLRRRRR",
    Resumed: "LRLRRRRL",
    Cancelled: "LLLRRRRL",
    UpstreamFailed: "LIIIIRRI",
}
LETTERS = {"L": LEGAL, "R": REPEAT, "I": ILLEGAL}


def stage_in(state: StageState, kind: str = "train") -> Stage:
    """A stage as it looks in `state`."""
    stage = Stage(stage_id="stage_1", name=kind, kind=kind, state=state)
    if state in (StageState.PENDING, StageState.SKIPPED):
        return stage
    if state is StageState.PAUSED:
        return replace(stage, pause_requested=True)
    if state is not StageState.QUEUED:
        stage = replace(stage, attempt=1, fence=7, worker_id="w")
    return replace(stage, outputs=OUTPUTS) if state is StageState.SUCCEEDED else stage


def fact_for(kind: type[Fact], stage: Stage, failure_class: int = FailureClass.FAILURE_CLASS_INTERNAL) -> Fact:
    """A fact of `kind` that fits the stage's fence."""
    made: dict[type[Fact], Fact] = {
        NeedsMet: NeedsMet(),
        Claimed: Claimed("w", stage.fence + 1),
        Completed: Completed(stage.fence, OUTPUTS),
        Failed: Failed(stage.fence, Failure(failure_class=failure_class, message="broken")),  # type: ignore[arg-type]
        LeaseExpired: LeaseExpired(stage.fence),
        Overlooked: Overlooked(),
        PauseRequested: PauseRequested(),
        Resumed: Resumed(),
        Cancelled: Cancelled(),
        UpstreamFailed: UpstreamFailed("stage preprocess failed"),
    }
    return made[kind]


def events_of(effects: tuple[Effect, ...]) -> list[str]:
    return [effect.fact.DESCRIPTOR.name for effect in effects if isinstance(effect, Emit)]


def test_every_kind_of_fact_has_an_answer_in_this_test() -> None:
    assert set(FACTS) == set(ANSWERS)


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(StageState, FACTS)))
def test_every_pair_of_state_and_fact_has_its_answer(state: StageState, kind: type[Fact]) -> None:
    stage = stage_in(state)
    expected = LETTERS[ANSWERS[kind][list(StageState).index(state)]]
    if expected == ILLEGAL:
        with pytest.raises(ConflictError, match="not legal"):
            advance(stage, fact_for(kind, stage))
        return
    if kind is Resumed:  # what there is to resume
        stage = replace(stage, pause_requested=state not in TERMINAL | {StageState.QUEUED})
    after, effects = advance(stage, fact_for(kind, stage))
    assert (bool(effects) or after != stage) is (expected == LEGAL)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_nothing_leaves_a_terminal_state(state: StageState) -> None:
    stage = stage_in(state)
    for kind in FACTS:
        if (state, kind) in TRANSITIONS:
            assert advance(stage, fact_for(kind, stage)) == (stage, ())


@pytest.mark.parametrize("kind", [Completed, Failed, LeaseExpired])
@pytest.mark.parametrize("state", [StageState.QUEUED, StageState.RUNNING, StageState.SUCCEEDED])
def test_a_stale_fence_is_refused_in_every_state(kind: type[Fact], state: StageState) -> None:
    stage = replace(stage_in(state), fence=9)
    stale = fact_for(kind, replace(stage, fence=8))
    with pytest.raises(ConflictError, match="stale"):
        advance(stage, stale)


def test_the_same_outputs_twice_change_nothing_and_others_are_refused() -> None:
    stage = stage_in(StageState.SUCCEEDED)
    assert advance(stage, Completed(stage.fence, OUTPUTS)) == (stage, ())
    with pytest.raises(ConflictError, match="other outputs"):
        advance(stage, Completed(stage.fence, StageOutputs(metrics={"loss": 2.0})))


def test_a_claim_counts_the_attempt_and_takes_the_fence() -> None:
    stage = replace(stage_in(StageState.QUEUED), attempt=2, fence=5, failure=Failure(message="before"))
    after, effects = advance(stage, Claimed("worker-9", 6))
    assert (after.state, after.attempt, after.fence, after.worker_id) == (StageState.RUNNING, 3, 6, "worker-9")
    assert after.failure is None
    assert events_of(effects) == ["StageStarted"]


def test_a_failure_is_retried_until_the_attempts_are_used_up() -> None:
    stage = replace(stage_in(StageState.QUEUED), max_attempts=3)
    delays = []
    for fence in (1, 2):
        stage, _ = advance(stage, Claimed("w", fence))
        stage, effects = advance(stage, fact_for(Failed, stage))
        assert stage.state is StageState.QUEUED
        assert events_of(effects) == ["StageRetried"]
        delays += [effect.delay_seconds for effect in effects if isinstance(effect, WakeUp)]
    stage, _ = advance(stage, Claimed("w", 3))
    stage, effects = advance(stage, fact_for(Failed, stage))
    assert stage.state is StageState.FAILED
    assert events_of(effects) == ["StageFailed"]
    assert delays == [1.0, 2.0]


def test_a_preempted_attempt_uses_up_no_try_and_rests_no_time() -> None:
    stage = replace(stage_in(StageState.RUNNING), max_attempts=1)
    after, effects = advance(stage, fact_for(Failed, stage, FailureClass.FAILURE_CLASS_PREEMPTED))
    assert (after.state, after.num_counted, after.avoid_worker_id) == (StageState.QUEUED, 0, "")
    assert effects[-1] == WakeUp(0.0)


def test_an_expired_lease_is_a_lost_worker_that_is_named() -> None:
    after, effects = advance(stage_in(StageState.RUNNING), LeaseExpired(7))
    assert after.state is StageState.QUEUED
    assert after.failure is not None
    assert after.failure.failure_class == FailureClass.FAILURE_CLASS_LOST_WORKER
    assert "worker w" in after.failure.message
    assert WakeUp(0.0) in effects
    last = replace(stage_in(StageState.RUNNING), max_attempts=1)
    assert advance(last, LeaseExpired(7))[0].state is StageState.FAILED


def test_a_lost_worker_is_replaced_at_once_and_then_with_back_off() -> None:
    stage = replace(stage_in(StageState.QUEUED), max_attempts=4)
    delays = []
    for fence in (1, 2, 3):
        stage, _ = advance(stage, Claimed("w", fence))
        stage, effects = advance(stage, LeaseExpired(fence))
        delays += [effect.delay_seconds for effect in effects if isinstance(effect, WakeUp)]
    assert delays == [0.0, 1.0, 2.0]


def test_out_of_memory_is_refitted_and_says_so() -> None:
    stage = stage_in(StageState.RUNNING)
    after, effects = advance(stage, fact_for(Failed, stage, FailureClass.FAILURE_CLASS_OUT_OF_MEMORY))
    assert (after.refit, after.num_counted, after.avoid_worker_id) == (1, 1, "w")
    told = [effect.fact for effect in effects if isinstance(effect, Emit)]
    assert [fact.refit for fact in told] == [1]  # type: ignore[attr-defined]
    again, _ = advance(after, Claimed("w2", 8))
    assert again.refit == 1


def test_a_full_disk_uses_up_waits_and_no_attempts() -> None:
    stage = replace(stage_in(StageState.RUNNING), max_attempts=1)
    delays = []
    for _ in range(MAX_WAITS):
        stage, effects = advance(stage, fact_for(Failed, stage, FailureClass.FAILURE_CLASS_STORAGE_FULL))
        assert stage.state is StageState.QUEUED
        delays += [effect.delay_seconds for effect in effects if isinstance(effect, WakeUp)]
        stage, _ = advance(stage, Claimed("w", stage.fence + 1))
    assert delays[:6] == [10.0, 20.0, 40.0, 80.0, 120.0, 120.0]
    assert stage.num_counted == 0
    stage, _ = advance(stage, fact_for(Failed, stage, FailureClass.FAILURE_CLASS_STORAGE_FULL))
    assert stage.state is StageState.FAILED
    assert stage.failure is not None
    assert stage.failure.message == f"broken (waited and tried again {MAX_WAITS} times)"


def test_the_last_failure_says_how_many_tries_there_were_and_why() -> None:
    for max_attempts, words in ((1, "once"), (3, "3 times")):
        stage = replace(stage_in(StageState.RUNNING), max_attempts=max_attempts, num_counted=max_attempts - 1)
        after, _ = advance(stage, fact_for(Failed, stage))
        assert after.failure is not None
        why = f"tried {words}, which is all that resources.max_attempts allows"
        assert after.failure.message == f"broken ({why})"
    final = stage_in(StageState.RUNNING)
    after, _ = advance(final, fact_for(Failed, final, FailureClass.FAILURE_CLASS_DATA))
    assert after.failure is not None
    assert after.failure.message == "broken"


@pytest.mark.parametrize("failure_class", FailureClass.values())
def test_a_worker_is_blamed_for_what_may_be_its_own_doing(failure_class: int) -> None:
    blamed = {"UNSPECIFIED", "LOST_WORKER", "INTERNAL", "OUT_OF_MEMORY"}
    stage = stage_in(StageState.RUNNING)
    _, effects = advance(stage, fact_for(Failed, stage, failure_class))
    name = FailureClass.Name(failure_class).removeprefix("FAILURE_CLASS_")  # type: ignore[arg-type]
    assert (Blame("w") in effects) is (name in blamed)


def test_a_success_is_credited_to_its_worker() -> None:
    assert Credit("w") in advance(stage_in(StageState.RUNNING), Completed(7, OUTPUTS))[1]


def test_what_waits_is_held_back_at_once_and_queued_again() -> None:
    held, effects = advance(stage_in(StageState.QUEUED), PauseRequested())
    assert (held.state, events_of(effects)) == (StageState.PAUSED, ["StagePaused"])
    queued, effects = advance(held, Resumed())
    assert (queued.state, queued.pause_requested) == (StageState.QUEUED, False)
    assert events_of(effects) == ["StageQueued"]
    assert WakeUp() in effects


def test_what_is_not_ready_is_held_back_when_it_is() -> None:
    marked, _ = advance(stage_in(StageState.PENDING, "deploy"), PauseRequested())
    assert (marked.state, marked.pause_requested) == (StageState.PENDING, True)
    held, effects = advance(marked, NeedsMet())
    assert held.state is StageState.PAUSED
    assert OpenDeployment() in effects
    assert not any(isinstance(effect, WakeUp) for effect in effects)


def test_what_runs_goes_on_until_its_try_ends() -> None:
    marked, effects = advance(stage_in(StageState.RUNNING), PauseRequested())
    assert (marked.state, marked.pause_requested, effects) == (StageState.RUNNING, True, ())
    made_way, effects = advance(marked, fact_for(Failed, marked, FailureClass.FAILURE_CLASS_PREEMPTED))
    assert (made_way.state, events_of(effects)) == (StageState.PAUSED, ["StagePaused"])
    lost, effects = advance(marked, LeaseExpired(7))
    assert (lost.state, events_of(effects)) == (StageState.PAUSED, ["StageRetried", "StagePaused"])
    assert not any(isinstance(effect, WakeUp) for effect in effects)
    for fact, state in (
        (Completed(7, OUTPUTS), StageState.SUCCEEDED),
        (fact_for(Failed, marked, FailureClass.FAILURE_CLASS_DATA), StageState.FAILED),
        (Cancelled(), StageState.CANCELLED),
    ):
        ended, _ = advance(marked, fact)
        assert (ended.state, ended.pause_requested) == (state, False)
    unmarked, _ = advance(marked, Resumed())
    assert unmarked == stage_in(StageState.RUNNING)


def test_export_registers_a_model_and_deploy_follows_its_deployment() -> None:
    export = stage_in(StageState.RUNNING, "export")
    assert RegisterModel(OUTPUTS) in advance(export, Completed(7, OUTPUTS))[1]
    assert OpenDeployment() in advance(stage_in(StageState.PENDING, "deploy"), NeedsMet())[1]
    deploy = stage_in(StageState.RUNNING, "deploy")
    assert ActivateDeployment(OUTPUTS) in advance(deploy, Completed(7, OUTPUTS))[1]
    final = fact_for(Failed, deploy, FailureClass.FAILURE_CLASS_CONFIG)
    assert any(isinstance(effect, FailDeployment) for effect in advance(deploy, final)[1])
    assert any(isinstance(effect, FailDeployment) for effect in advance(deploy, Cancelled())[1])
    waiting = stage_in(StageState.PENDING, "deploy")
    assert not any(isinstance(effect, FailDeployment) for effect in advance(waiting, Cancelled())[1])


def test_every_event_that_is_emitted_has_a_place_in_the_envelope() -> None:
    places = {field.message_type.name for field in Event.DESCRIPTOR.oneofs_by_name["fact"].fields}
    for state, kind in TRANSITIONS:
        stage = stage_in(state)
        assert set(events_of(advance(stage, fact_for(kind, stage))[1])) <= places


def test_the_diagram_shows_each_edge_that_changes_the_state() -> None:
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    QUEUED --> RUNNING: claimed" in lines
    assert "    RUNNING --> QUEUED: lease expired" in lines
    assert "    SKIPPED --> [*]" in lines
    assert not any("QUEUED --> QUEUED" in line for line in lines)
