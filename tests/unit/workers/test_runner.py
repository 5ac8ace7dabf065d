import json
import subprocess
from pathlib import Path

import pytest

from luthier.artifacts import fetch
from luthier.settings import WorkerSettings
from luthier.spec.plan import NEEDS
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress, StageOutputs
from workers.contract import decode, read_outcome, write_task
from workers.runner import STAGES, load_stages


@pytest.fixture
def run(tmp_path: Path, assign, runner_argv, runner_environment):
    """Runs one stage in a real runner; returns its messages, its outcome and the process."""

    def run(kind: str):
        work_dir = tmp_path / "work"
        work_dir.mkdir()
        write_task(work_dir, assign(kind))
        process = subprocess.run([*runner_argv, str(work_dir)], env=runner_environment, capture_output=True, timeout=60)
        messages = [decode(line) for line in process.stdout.splitlines() if line.startswith(b"{")]
        return messages, read_outcome(work_dir), process

    return run


def test_a_stage_reports_and_its_output_becomes_an_artifact(run, tmp_path: Path):
    messages, outcome, process = run("echo")
    assert process.returncode == 0
    kinds = [type(message) for message in messages]
    assert kinds[:3] == [Progress, MetricPoint, Checkpoint]
    assert messages[0].eta.ToMilliseconds() == 1500
    assert (messages[2].attempt, messages[2].fence) == (1, 7)
    assert isinstance(outcome, StageOutputs)
    assert outcome.artifact.uri == str(tmp_path / "out" / "output")
    assert (fetch(outcome.artifact.uri, tmp_path, digest=outcome.artifact.digest) / "hello.txt").read_text() == "hello"
    assert dict(outcome.metrics) == {"loss": 0.25}
    assert outcome.result_json == '{"a":[2],"b":1}'
    assert outcome.gate_passed


@pytest.mark.parametrize(
    ("kind", "failure_class", "words"),
    [
        ("config", FailureClass.FAILURE_CLASS_CONFIG, "method.r: must be smaller"),
        ("full", FailureClass.FAILURE_CLASS_STORAGE_FULL, "adapter.safetensors"),
        ("broken", FailureClass.FAILURE_CLASS_INTERNAL, "RuntimeError: a fault of ours"),
        ("unheard-of", FailureClass.FAILURE_CLASS_CONFIG, "no stage kind 'unheard-of'"),
    ],
)
def test_what_a_stage_raises_becomes_a_classified_failure(run, kind, failure_class, words):
    _, outcome, process = run(kind)
    assert process.returncode == 1
    assert isinstance(outcome, Failure)
    assert outcome.failure_class == failure_class
    assert words in outcome.message
    assert "Traceback" in outcome.detail


@pytest.mark.parametrize(
    ("recorded", "failure_class"),
    [
        ("store/project/datasets/version/1-7", FailureClass.FAILURE_CLASS_CONFIG),
        ("store/project/job-1/preprocess/1-6/output", FailureClass.FAILURE_CLASS_UNAVAILABLE),
    ],
)
def test_a_folder_in_which_nothing_was_recorded_yet_is_not_missed(
    tmp_path, assign, runner_argv, runner_environment, recorded, failure_class
):
    """The dataset of a job is its project's. So before its first checkpoint a job may have no folder, and what a stage
    says of the job file is true though there is none."""
    assignment = assign("config")
    assignment.output_uri = str(tmp_path / "store" / "project" / "job-1" / "train" / "1-7")
    assignment.inputs["preprocess"].artifact.uri = str(tmp_path / recorded)
    (tmp_path / "store" / "project" / "datasets").mkdir(parents=True)
    write_task(tmp_path, assignment)
    subprocess.run([*runner_argv, str(tmp_path)], env=runner_environment, capture_output=True, timeout=60)
    assert read_outcome(tmp_path).failure_class == failure_class


def test_a_job_file_from_another_version_is_a_config_failure(tmp_path, assign, runner_argv, runner_environment):
    assignment = assign("echo")
    assignment.spec_json = json.dumps({"name": "job", "base_model": "tiny", "data": {"path": "x"}, "telepathy": {}})
    write_task(tmp_path, assignment)
    subprocess.run([*runner_argv, str(tmp_path)], env=runner_environment, capture_output=True, timeout=60)
    outcome = read_outcome(tmp_path)
    assert outcome.failure_class == FailureClass.FAILURE_CLASS_CONFIG
    assert "telepathy" in outcome.message


def test_a_runner_whose_parent_is_gone_does_no_work(tmp_path, assign, runner_argv, runner_environment):
    write_task(tmp_path, assign("echo"))
    argv = [*runner_argv, "--parent", "999999", str(tmp_path)]
    process = subprocess.run(argv, env=runner_environment, capture_output=True, timeout=60)
    assert process.returncode == 1
    assert b"999999" in process.stderr
    assert read_outcome(tmp_path) is None


def test_the_table_holds_the_kinds_of_the_planner():
    assert list(STAGES) == list(NEEDS)


@pytest.mark.parametrize("name", ["workers.runner", ":STAGES", "workers.runner:main"])
def test_a_name_that_is_no_table_is_refused(name):
    with pytest.raises(ValueError, match=name):
        load_stages(name)


def test_a_runner_sees_its_settings_but_no_secret_of_the_platform(monkeypatch):
    for name in ("INTERNAL_TOKEN", "NATS_URL", "DATABASE_URL", "API_KEY", "WORKER_ID"):
        monkeypatch.setenv(f"LUTHIER_{name}", "canary")
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", "/data")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = WorkerSettings(checkpoint_key="signing", hub_url="http://hub").runner_environment()
    assert "canary" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "1"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    seen = WorkerSettings()
    assert (seen.data_roots, seen.hub_url, seen.checkpoint_key.get_secret_value()) == ("/data", "http://hub", "signing")
