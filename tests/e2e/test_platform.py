"""A job through the whole platform, on a tiny random model: what a user sees when it goes well and when it does not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luthier.client import Client, Job
from luthier.errors import UnauthenticatedError
from luthier.local.demo import tell
from tests.e2e.harness import Collector, Platform

SYSTEM_PROMPT = "the quick fox"
STAGES = ["preprocess", "train", "evaluate", "export", "deploy"]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Folder:
    """A job file beside its data."""

    path: Path
    model: Path

    def job(self, name: str = "tiny", **changes: Any) -> Path:
        """A job file; `changes` replace its sections."""
        spec = {
            "name": name,
            "base_model": str(self.model),
            "data": {"path": "rows.jsonl", "max_length": 64, "system_prompt": SYSTEM_PROMPT},
            "training": {"max_steps": 10, "eval_steps": 5, "pack_length": 128, "learning_rate": 0.01},
            "evaluation": {"max_new_tokens": 4, "max_samples": 4, "num_bootstrap": 100},
            "deploy": {"max_new_tokens": 8, "validation_prompt": "say 1"},
        }
        file = self.path / f"{name}.yaml"
        file.write_text(json.dumps({**spec, **changes}))
        return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model_dir: Path) -> Folder:
    path = tmp_path_factory.mktemp("job")
    rows = [
        {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": f"{n} the fox"}]}
        for n in range(60)
    ]
    (path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Folder(path, tiny_model_dir)


@pytest.fixture(scope="module")
def client(stack: Platform) -> Client:
    return stack.client()


@pytest.fixture(scope="module")
def finished(stack: Platform, folder: Folder) -> dict[str, Any]:
    """What `luthier jobs submit --wait -o json` prints about a job that succeeded."""
    done = stack.luthier("jobs", "submit", str(folder.job()), "--wait", "-o", "json", timeout=240)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return dict(json.loads(done.stdout))


def test_every_stage_succeeds_at_the_first_try(stack: Platform, finished: dict[str, Any]) -> None:
    job = stack.json("jobs", "get", finished["id"])
    assert job["state"] == "SUCCEEDED"
    assert [(stage["name"], stage["state"], stage["attempt"]) for stage in job["stages"]] == [
        (name, "SUCCEEDED", 1) for name in STAGES
    ]
    assert job["model_id"]
    assert job["deployment"]
    assert job["metrics"]["evaluate.perplexity_tuned"] > 0


def test_the_deployment_answers(stack: Platform, finished: dict[str, Any]) -> None:
    by_id = stack.json("chat", finished["deployment"], "say 7")
    assert by_id["finish_reason"] in ("stop", "length")
    assert 1 <= by_id["num_completion_tokens"] <= 8
    assert stack.json("chat", "tiny", "say 7") == by_id


def test_a_question_is_asked_with_the_system_prompt_of_the_training(client: Client, finished: dict[str, Any]) -> None:
    question = {"role": "user", "content": "say 7"}
    trained = client.chat(finished["deployment"], [{"role": "system", "content": SYSTEM_PROMPT}, question])
    assert client.chat(finished["deployment"], [question]) == trained
    other = client.chat(finished["deployment"], [{"role": "system", "content": "hello world " * 5}, question])
    assert other.num_prompt_tokens > trained.num_prompt_tokens


def test_what_was_exported_is_a_model_of_the_project(stack: Platform, finished: dict[str, Any]) -> None:
    model = stack.json("models", "get", finished["model_id"])
    assert model["formats"] == ["peft", "merged", "triton"]
    assert (Path(model["artifact"]["uri"]) / "merged" / "config.json").is_file()


def test_the_demo_finds_everything_that_it_shows(client: Client, finished: dict[str, Any]) -> None:
    shown = tell(client, client.get(finished["id"]))
    assert shown.comparison.keys() >= {"perplexity", "exact_match"}
    assert shown.parity["greedy_agreement"] > 0
    assert shown.ticket.text.startswith("say ")
    assert shown.ticket.expected.endswith("the fox")
    assert shown.stage_seconds.keys() == set(STAGES)
    assert [Path(report).is_file() for report in shown.reports] == [True] * 4


def test_one_trace_spans_the_client_and_every_stage(collector: Collector, finished: dict[str, Any]) -> None:
    spans = {(service, name) for trace, service, name in collector.spans if trace == finished["trace_id"]}
    assert ("luthier-cli", "submit job") in spans
    assert {service for service, _ in spans} >= {"luthier-gateway", "luthier-coordinator", "luthier-worker"}
    assert {name for service, name in spans if service == "luthier-runner"} >= {f"stage.{name}" for name in STAGES}


def test_the_event_log_has_no_gap(client: Client, finished: dict[str, Any]) -> None:
    sequences = [event.sequence for event in client.events()]
    assert sequences == list(range(1, len(sequences) + 1))
    kinds = [event.kind for event in client.events(job=finished["id"])]
    assert kinds[0] == "job_created"
    assert kinds[-1] == "job_succeeded"


def failed(client: Client, job: Job) -> Job:
    done = client.wait(job.id, timeout_seconds=120)
    assert done.state == "FAILED"
    assert done.failure is not None
    assert {stage.state for stage in done.stages if stage.failure is None} == {"SKIPPED"}
    return done


def test_a_missing_data_file_is_named_and_the_rest_is_skipped(client: Client, folder: Folder) -> None:
    job = failed(client, client.submit(folder.job("missing", data={"path": "nowhere.jsonl", "max_length": 64})))
    assert job.failure is not None
    assert job.failure.failure_class == "DATA"
    assert "nowhere.jsonl" in job.failure.message
    assert [stage.state for stage in job.stages] == ["FAILED", "SKIPPED", "SKIPPED", "SKIPPED", "SKIPPED"]


def test_an_unknown_model_is_told_what_is_accepted(client: Client, folder: Folder) -> None:
    job = failed(client, client.submit(folder.job("unknown", base_model="smollm3-135m")))
    assert job.failure is not None
    assert job.failure.failure_class == "CONFIG"
    assert "smollm2-135m-instruct" in job.failure.message


def test_an_unknown_key_is_refused_at_submit_and_nothing_is_created(
    stack: Platform, client: Client, folder: Folder
) -> None:
    before = len(client.list())
    done = stack.luthier("jobs", "submit", str(folder.job("typo", training={"learning_rat": 0.1})))
    assert done.returncode == 2
    assert "training.learning_rat" in done.stderr
    assert "Did you mean 'learning_rate'?" in done.stderr
    assert len(client.list()) == before


def test_a_wrong_key_learns_nothing(stack: Platform, finished: dict[str, Any]) -> None:
    with stack.client(api_key="lk_wrong") as stranger, pytest.raises(UnauthenticatedError) as caught:
        stranger.get(finished["id"])
    assert finished["name"] not in str(caught.value)
