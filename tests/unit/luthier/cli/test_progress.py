"""What a person sees of a running job, in a terminal and in a pipe."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from luthier.cli import progress
from luthier.client.types import Event, Failure, Job, MetricPoint, Progress, Stage

START = datetime(2026, 1, 1, tzinfo=UTC)


def stage(name, state, **changes):
    fields = {
        "id": f"stg_{name}", "name": name, "kind": name, "worker_class": "cpu", "state": state, "needs": (),
        "attempt": 1, "worker_id": None, "queued_time": None, "started_time": None, "finished_time": None,
        "progress": None, "failure": None, "artifact": None, "metrics": {}, "result": {}, "gate_reason": None,
    }  # fmt: skip
    return Stage(**{**fields, **changes})


def job(*stages, state="RUNNING"):
    return Job(
        id="job_1", project_id="prj_1", name="tickets", state=state, spec={}, stages=stages, failure=None, metrics={},
        model_id=None, deployment_id=None, created_time=START, started_time=START, finished_time=None, trace_id=None,
    )  # fmt: skip


def event(sequence, kind, **changes):
    fields = {"stage": "train", "attempt": 1, "failure": None, "metrics": (), "data": {}}
    return Event(
        id=f"evt_{sequence}", sequence=sequence, project_id="prj_1", job_id="job_1", time=START, kind=kind,
        **{**fields, **changes},
    )  # fmt: skip


def training(step):
    return stage("train", "RUNNING", progress=Progress(step, 80, f"loss {1 / step:.4f}", timedelta(seconds=65)))


def render(*updates):
    view = progress.JobView()
    for update in updates:
        view.add(update)
    console = Console(file=io.StringIO(), width=140)
    console.print(view)
    return console.file.getvalue()


def test_the_table_shows_states_progress_loss_and_time_left():
    losses = MetricPoint("train", 1, 20, START, {"loss": 0.75, "learning_rate": 1e-3})
    validation = MetricPoint("train", 1, 20, START, {"validation_loss": 0.5})
    shown = render(
        job(stage("preprocess", "SUCCEEDED"), training(20), stage("evaluate", "PENDING", attempt=0)),
        event(1, "metrics_reported", metrics=(losses,)),
        event(2, "metrics_reported", metrics=(validation,)),
    )
    row = next(line for line in shown.splitlines() if line.startswith("train"))
    for part in ("RUNNING", "20/80", "0.75", "0.5", "1 m 05 s"):
        assert part in row
    assert "evaluate" in shown
    assert "metrics_reported" not in shown


def test_the_last_events_stand_below_the_table():
    shown = render(job(training(1)), *(event(n, "stage_queued", stage=f"stage{n}") for n in range(1, 10)))
    assert "stage9 queued" in shown
    assert "stage1 queued" not in shown


def test_a_paused_job_says_how_to_go_on():
    shown = render(job(stage("train", "PAUSED", pause_requested=True), state="PAUSED"), event(1, "job_paused"))
    assert "luthier jobs resume job_1" in shown
    assert "job paused" in shown


def test_a_stage_that_is_asked_to_pause_says_so():
    pausing = stage("train", "RUNNING", pause_requested=True, progress=Progress(3, 80, "loss 1", None))
    assert "stops at its next checkpoint" in render(job(pausing))


def test_before_the_first_snapshot_there_is_something_to_see():
    assert "waiting" in render()


def test_the_reason_of_a_failure_is_in_its_row():
    failed = stage("preprocess", "FAILED", failure=Failure("DATA", "line 3 is no JSON", ""))
    assert "line 3 is no JSON" in render(job(failed, state="FAILED"))


def piped(updates):
    console = Console(file=io.StringIO(), width=200)
    last = progress.show(updates, console)
    return last, console.file.getvalue().splitlines()


def test_a_pipe_gets_one_line_per_event_and_few_about_progress(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)

    def updates():
        nonlocal now
        yield event(1, "stage_started", data={"worker_id": "w1"})
        for step in range(1, 61):
            now += 0.1
            yield job(training(step))
            yield event(step + 1, "metrics_reported")
        yield job(stage("train", "SUCCEEDED"), state="SUCCEEDED")

    last, lines = piped(updates())
    assert last.state == "SUCCEEDED"
    assert "train started, attempt 1 on w1" in lines[0]
    assert [line.split("step ")[1] for line in lines[1:]] == ["1/80  ETA 1 m 05 s", "51/80  ETA 1 m 05 s"]


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\r", "\x9b1A"])
def test_messages_cannot_steer_the_terminal(hostile):
    running = stage("train", "RUNNING", progress=Progress(1, 2, f"a{hostile}b", None))
    _, lines = piped([job(running), event(1, "stage_skipped", data={"reason": f"a{hostile}b"})])
    assert not any(hostile in line for line in lines)
