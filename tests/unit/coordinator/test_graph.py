"""What one stage's end means for the others, and the job's state derived from all of them."""

from dataclasses import replace

import pytest

from coordinator.facts import NeedsMet, UpstreamFailed
from coordinator.graph import JobState, cancel, follow, job_event, job_failure, job_state, pause, resume
from coordinator.lifecycle import Stage, StageState, advance
from luthier.errors import ConflictError
from luthier.spec import parse_spec
from luthier.spec.plan import plan
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import StageOutputs

JOB = '{"name": "job", "base_model": "m", "data": {"path": "/d.jsonl"}, "deploy": {}}'
NEEDS = {stage.name: stage.needs for stage in plan(parse_spec(JOB))}


def stages(**states: str) -> list[Stage]:
    """The whole pipeline; stages that are not named are PENDING."""
    made = []
    for name, needs in NEEDS.items():
        state = StageState(states.get(name, "PENDING"))
        stage = Stage(stage_id=f"stage_{name}", name=name, kind=name, needs=needs, state=state)
        if state is StageState.SUCCEEDED:
            stage = replace(stage, attempt=1, outputs=StageOutputs(gate_passed=True))
        if state in (StageState.RUNNING, StageState.FAILED):
            stage = replace(stage, attempt=1)
        made.append(stage)
    return made


def all_of(state: str) -> dict[str, str]:
    return dict.fromkeys(NEEDS, state)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, JobState.PENDING),
        ({"preprocess": "QUEUED"}, JobState.PENDING),
        ({"preprocess": "RUNNING"}, JobState.RUNNING),
        ({"preprocess": "SUCCEEDED", "train": "QUEUED"}, JobState.RUNNING),
        (all_of("SUCCEEDED"), JobState.SUCCEEDED),
        ({"preprocess": "FAILED"}, JobState.RUNNING),
        (all_of("SKIPPED") | {"preprocess": "FAILED"}, JobState.FAILED),
        (all_of("SUCCEEDED") | {"export": "SKIPPED", "deploy": "SKIPPED"}, JobState.FAILED),
        (all_of("CANCELLED") | {"preprocess": "SUCCEEDED"}, JobState.CANCELLED),
        ({"preprocess": "PAUSED"}, JobState.PAUSED),
        ({"preprocess": "SUCCEEDED", "train": "PAUSED"}, JobState.PAUSED),
        ({"preprocess": "RUNNING", "train": "PAUSED"}, JobState.RUNNING),
        ({"preprocess": "QUEUED", "train": "PAUSED"}, JobState.PENDING),
    ],
)
def test_the_job_s_state_is_derived(states: dict[str, str], expected: JobState) -> None:
    assert job_state(stages(**states)) is expected


def test_a_stage_is_queued_when_all_that_it_needs_has_succeeded() -> None:
    assert [(stage.name, fact) for stage, fact in follow(stages())] == [("preprocess", NeedsMet())]
    found = follow(stages(preprocess="SUCCEEDED", train="RUNNING"))
    assert found == []
    found = follow(stages(preprocess="SUCCEEDED", train="SUCCEEDED"))
    assert [(stage.name, fact) for stage, fact in found] == [("evaluate", NeedsMet())]


def test_a_failure_skips_everything_behind_it_round_by_round() -> None:
    present = stages(preprocess="SUCCEEDED", train="FAILED")
    while found := follow(present):
        for stage, fact in found:
            assert isinstance(fact, UpstreamFailed)
            present = [advance(one, fact)[0] if one is stage else one for one in present]
    assert [stage.state for stage in present[2:]] == [StageState.SKIPPED] * 3
    assert job_state(present) is JobState.FAILED


def test_a_refused_gate_skips_the_export_with_the_gate_s_reason() -> None:
    present = stages(preprocess="SUCCEEDED", train="SUCCEEDED", evaluate="SUCCEEDED")
    refused = StageOutputs(gate_passed=False, gate_reason="json_valid 0.2 is below 0.9")
    present[2] = replace(present[2], outputs=refused)
    ((stage, fact),) = follow(present)
    assert stage.name == "export"
    assert isinstance(fact, UpstreamFailed)
    assert "json_valid 0.2 is below 0.9" in fact.reason
    failure = job_failure(present)
    assert failure is not None
    assert failure.failure_class == FailureClass.FAILURE_CLASS_GATE_REFUSED


def test_only_evaluate_has_a_gate() -> None:
    present = stages(preprocess="SUCCEEDED")
    present[0] = replace(present[0], outputs=StageOutputs())
    assert [stage.name for stage, _ in follow(present)] == ["train"]


def test_cancelling_spares_what_has_ended_and_is_refused_after_the_end() -> None:
    found = cancel(JobState.RUNNING, stages(preprocess="SUCCEEDED", train="RUNNING"))
    assert [stage.name for stage, _ in found] == ["train", "evaluate", "export", "deploy"]
    assert cancel(JobState.CANCELLED, stages(**all_of("CANCELLED"))) == []
    for state in (JobState.SUCCEEDED, JobState.FAILED):
        with pytest.raises(ConflictError, match=state):
            cancel(state, stages(**all_of("SUCCEEDED")))


def test_pausing_and_resuming_reach_what_has_not_ended_and_are_refused_after_the_end() -> None:
    present = stages(preprocess="SUCCEEDED", train="RUNNING")
    names = ["train", "evaluate", "export", "deploy"]
    assert [stage.name for stage, _ in pause(JobState.RUNNING, present)] == names
    marked = [replace(stage, pause_requested=stage.name in names) for stage in present]
    assert pause(JobState.RUNNING, marked) == []
    assert [stage.name for stage, _ in resume(JobState.PAUSED, marked)] == names
    assert resume(JobState.RUNNING, present) == []
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED):
        for change in (pause, resume):
            with pytest.raises(ConflictError, match=state):
                change(state, stages(**all_of("SUCCEEDED")))


def test_a_job_that_was_paused_before_it_started_starts_later() -> None:
    def names(before: JobState, after: JobState) -> list[str]:
        return [fact.DESCRIPTOR.name for fact in job_event(before, after, None)]

    assert names(JobState.PENDING, JobState.PAUSED) == ["JobPaused"]
    assert names(JobState.PAUSED, JobState.PENDING) == []
    assert names(JobState.PENDING, JobState.RUNNING) == ["JobStarted"]
    assert names(JobState.PAUSED, JobState.RUNNING) == []


def test_a_change_of_the_job_s_state_is_told_once() -> None:
    failure = Failure(message="why")
    names = [fact.DESCRIPTOR.name for fact in job_event(JobState.PENDING, JobState.FAILED, failure)]
    assert names == ["JobStarted", "JobFailed"]
    assert job_event(JobState.RUNNING, JobState.RUNNING, None) == []
    assert [fact.DESCRIPTOR.name for fact in job_event(JobState.PENDING, JobState.CANCELLED, None)] == ["JobCancelled"]
