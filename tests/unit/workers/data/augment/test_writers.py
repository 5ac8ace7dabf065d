"""Which models a worker may ask, how they are asked, and that no answer is lost with the worker that asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from luthier.artifacts import ArtifactRef
from luthier.settings import WorkerSettings
from luthier.spec import DataSpec, JobSpec
from luthier.spec.data.augment import WriterSpec
from luthier.v1.stage_pb2 import Checkpoint, Stage
from luthier.v1.worker_service_pb2 import StageAssignment
from tests.unit.workers.data.augment.conftest import Endpoint, reworded
from tests.unit.workers.data.conftest import Recorder
from workers.data.augment.endpoint_writer import EndpointWriter
from workers.data.augment.local_writer import LocalWriter
from workers.data.augment.open_writer import key_of, open_writer
from workers.data.augment.writer import Reply, Request
from workers.data.dataset import load_split
from workers.data.report import load_report
from workers.data.stage import run as run_stage
from workers.failures import ConfigError, DependencyError, PreemptedError
from workers.task import Task

KEY = "sk-a-key-that-nobody-may-see"
REQUEST = Request("Rewrite this.\n---\nthe text\n---", 7)
CHATS = [{"prompt": f"where is my parcel number {i}", "completion": f"on its way {i}"} for i in range(24)]


def _spec(endpoint: Endpoint, **settings: Any) -> WriterSpec:
    return WriterSpec.model_validate({"model": "m", "endpoint": endpoint.url, **settings})


def _write(endpoint: Endpoint, **settings: Any) -> list[Reply]:
    writer = EndpointWriter(_spec(endpoint, **settings), SecretStr(KEY), first_pause_seconds=0.01)
    return list(writer.write([REQUEST]))


def test_an_endpoint_that_is_busy_is_asked_again(endpoint: Endpoint) -> None:
    busy = [(503, {}, b"later"), (429, {"Retry-After": "0"}, b"slow down"), (200, {}, b"<html>a proxy</html>")]
    endpoint.answer = lambda body: busy.pop(0) if busy else "at last"
    assert _write(endpoint) == [Reply("at last", 10)]
    assert len(endpoint.bodies) == 4


def test_an_endpoint_that_stays_busy_ends_the_try(endpoint: Endpoint) -> None:
    endpoint.answer = lambda body: (500, {}, b"broken")
    with pytest.raises(DependencyError, match="does not answer after 3 tries: it answered 500: broken"):
        _write(endpoint, max_tries=3)
    assert len(endpoint.bodies) == 3


@pytest.mark.parametrize(
    "answer",
    [
        (401, {}, f"wrong key {KEY}".encode()),
        (404, {}, b"no such model"),
        (302, {"Location": "http://127.0.0.1:9/elsewhere"}, b""),
        (200, {}, b"x" * (5 << 20)),
    ],
)
def test_an_endpoint_that_refuses_is_not_asked_again_and_the_key_stays_secret(endpoint: Endpoint, answer: Any) -> None:
    endpoint.answer = lambda body: answer
    with pytest.raises(ConfigError, match=r"data\.augment\.writer\.endpoint") as caught:
        _write(endpoint)
    assert KEY not in str(caught.value)
    assert len(endpoint.bodies) == 1


def test_nobody_listens(endpoint: Endpoint) -> None:
    endpoint.close()
    with pytest.raises(DependencyError, match="does not answer after 2 tries"):
        _write(endpoint, max_tries=2)


@pytest.mark.parametrize(
    ("endpoints", "keys", "key"),
    [
        ("http://a/v1", "", ""),
        ("http://a/v1/", "k", "k"),
        ("http://b/v1, http://a/v1", "one,two", "two"),
        ("http://b/v1,http://a/v1", "one,", ""),
    ],
)
def test_an_endpoint_gets_its_own_key(endpoints: str, keys: str, key: str) -> None:
    settings = WorkerSettings(writer_endpoints=endpoints, writer_keys=SecretStr(keys))
    assert key_of("http://a/v1", settings).get_secret_value() == key


@pytest.mark.parametrize("endpoints", ["", "http://a/v2", "http://a", "http://a.example/v1", "https://a/v1"])
def test_an_endpoint_that_is_not_listed_is_not_asked(endpoints: str) -> None:
    settings = WorkerSettings(writer_endpoints=endpoints, writer_keys=SecretStr(KEY))
    with pytest.raises(ConfigError, match=r"LUTHIER_WRITER_ENDPOINTS of the worker") as caught:
        open_writer(WriterSpec(model="m", endpoint="http://a/v1"), settings)
    assert KEY not in str(caught.value)


def test_keys_that_do_not_match_are_refused_without_a_word_of_them() -> None:
    settings = WorkerSettings(writer_endpoints="http://a/v1,http://b/v1", writer_keys=SecretStr(KEY))
    with pytest.raises(ConfigError, match="has 1 keys for the 2") as caught:
        key_of("http://a/v1", settings)
    assert KEY not in str(caught.value)


def test_a_model_on_the_worker_answers_the_same_each_time(tiny_model_dir: Path) -> None:
    requests = [Request("say hello", 1), Request("say world and more of it", 2)]

    def said(temperature: float = 0.8, first_seed: int = 1) -> list[Reply]:
        spec = WriterSpec(model=str(tiny_model_dir), max_new_tokens=12, temperature=temperature)
        writer = LocalWriter(tiny_model_dir, spec)
        return list(writer.write([Request("say hello", first_seed), requests[1]]))

    assert said() == said() != said(first_seed=3)
    assert said(temperature=0.0) == said(temperature=0.0, first_seed=3)
    assert all(reply.num_tokens > 12 for reply in said())
    long = LocalWriter(tiny_model_dir, WriterSpec(model="m", max_new_tokens=12))
    assert list(long.write([Request("hello " * 900, 1)])) == [Reply("", 0, is_whole=False)]


class Keeper(Recorder):
    """A report that keeps the checkpoints, too."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[ArtifactRef, int]] = []

    def checkpoint(self, ref: Any, step: int) -> None:
        self.kept.append((ref, step))


@pytest.fixture
def stage_task(tmp_path: Path, tiny_model_dir: Path, write_rows: Callable[..., Path]) -> Callable[..., Task]:
    """A function that makes the attempt `number` at a stage whose rows are written by a model."""

    def make(number: int, checkpoints: list[Checkpoint], writer: dict[str, Any], endpoints: str = "") -> Task:
        work = tmp_path / f"work-{number}"
        work.mkdir()
        augment = {"min_samples": 40, "methods": ["paraphrase"], "max_copies": 1, "writer": writer}
        data = {"path": str(write_rows(CHATS)), "validation_fraction": 0.0, "test_fraction": 0.0, "augment": augment}
        return Task(
            assignment=StageAssignment(
                stage=Stage(stage_id="stg_1", name="preprocess", kind="preprocess", attempt=number, fence=number),
                output_uri=str(tmp_path / "store" / f"attempt-{number}"),
                checkpoints=checkpoints,
            ),
            spec=JobSpec(name="job", base_model=str(tiny_model_dir), data=DataSpec.model_validate(data)),
            settings=WorkerSettings(
                data_roots=f"{tmp_path},{tiny_model_dir}",
                model_cache=tmp_path / "models",
                writer_endpoints=endpoints,
                writer_keys=SecretStr(KEY if endpoints else ""),
                checkpoint_key=SecretStr("signs checkpoints"),
            ),
            work_dir=work,
        )

    return make


def test_a_later_try_asks_only_what_was_not_answered(stage_task: Callable[..., Task], endpoint: Endpoint) -> None:
    writer = {"model": "m", "endpoint": endpoint.url, "max_tries": 1, "concurrency": 1}
    endpoint.answer = lambda body: (
        reworded(body["messages"][0]["content"]) if len(endpoint.bodies) <= 10 else (500, {}, b"out of order")
    )
    first = Keeper()
    with pytest.raises(DependencyError):
        run_stage(stage_task(1, [], writer, endpoint.url), first)
    assert [step for _, step in first.kept] == [10]
    num_before = len(endpoint.bodies)
    endpoint.answer = lambda body: reworded(body["messages"][0]["content"])
    checkpoints = [Checkpoint(uri=ref.uri, digest=ref.digest, step=step) for ref, step in first.kept]
    result = run_stage(stage_task(2, checkpoints, writer, endpoint.url), Keeper())
    assert len(endpoint.bodies) - num_before == 16 - 10
    assert result.folder is not None
    assert load_report(result.folder)["augmentation"]["writer"]["num_remembered"] == 10
    assert sum(row.augmented == "paraphrase" for row in load_split(result.folder, "train")) == 16
    files = [path for path in result.folder.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in path.read_bytes() for path in files)


def test_a_drain_keeps_what_was_answered(stage_task: Callable[..., Task], endpoint: Endpoint) -> None:
    report = Keeper()
    writer = {"model": "m", "endpoint": endpoint.url, "max_requests": 100}

    def answer(body: dict[str, Any]) -> str:
        report.stops_after = 0
        return reworded(body["messages"][0]["content"])

    endpoint.answer = answer
    with pytest.raises(PreemptedError):
        run_stage(stage_task(1, [], writer, endpoint.url), report)
    assert [step for _, step in report.kept] == [len(endpoint.bodies)]


def test_the_job_s_own_model_may_write(stage_task: Callable[..., Task], tiny_model_dir: Path) -> None:
    task = stage_task(1, [], {"model": "base", "max_new_tokens": 8})
    assert task.spec.data.augment is not None
    assert task.spec.data.augment.writer is not None
    assert task.spec.data.augment.writer.model == str(tiny_model_dir)
    result = run_stage(task, Keeper())
    assert result.folder is not None
    document = load_report(result.folder)
    asked = document["augmentation"]
    assert asked["writer"]["num_requests"] == 24
    assert asked["num_added"] + sum(entry["count"] for entry in asked["refused"]) == 24
    assert document["num_rows_read"] + document["num_augmented"] == document["splits"]["train"]["num_rows"]
