"""Versions of datasets, and that an unchanged one is used again."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from luthier.artifacts import fetch, local_path, publish
from luthier.settings import WorkerSettings
from luthier.spec import DataSpec, JobSpec, SftSpec
from luthier.v1.stage_pb2 import Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.data.dataset import load_split
from workers.data.inputs import find_inputs
from workers.data.lineage.versions import DatasetStore
from workers.data.places import Remote
from workers.data.report import load_report
from workers.data.report.local import LogReport
from workers.data.stage import run as run_stage
from workers.runner import STAGES, run_attempt
from workers.task import StageResult, Task

ROWS = [{"prompt": f"hello {i}", "completion": f"world {i}"} for i in range(12)]
READING = "reading and checking rows"


@pytest.fixture
def model(tmp_path: Path, tiny_model_dir: Path) -> Path:
    """A copy of the tiny model that a test may change."""
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


@pytest.fixture
def submit(tmp_path: Path, model: Path, recorder: Any) -> Callable[..., Any]:
    """Preprocesses the rows of a job, each in a folder of its own, of the project `p`."""
    numbers = iter(range(100))

    def run(path: Path, *, project: str = "p", objective: str = "sft", **data: Any) -> StageResult:
        recorder.steps.clear()
        return run_stage(_task(tmp_path, next(numbers), model, project, objective, path=str(path), **data), recorder)

    return run


def _task(root: Path, number: int, model: Path, project: str, objective: str, **data: Any) -> Task:
    work = root / "work" / str(number)
    work.mkdir(parents=True)
    document = {"name": "job", "base_model": str(model), "data": data, "objective": {"type": objective}}
    stage = Stage(stage_id=f"stg_{number}", name="preprocess", kind="preprocess", attempt=1, fence=number)
    assignment = StageAssignment(
        stage=stage,
        project_id=project,
        spec_json=json.dumps(document),
        output_uri=str(root / "artifacts" / project / f"job_{number}" / "preprocess" / f"1-{number}"),
    )
    settings = WorkerSettings(data_roots=str(root), artifacts=str(root / "artifacts"), model_cache=root / "models")
    return Task(assignment, JobSpec.model_validate(document), settings, work)


def _messages(recorder: Any) -> list[str]:
    return [message for _, _, message in recorder.steps]


def test_an_unchanged_dataset_is_used_again(
    tmp_path: Path, write_rows: Callable[..., Path], submit: Callable[..., StageResult], recorder: Any
) -> None:
    path = write_rows(ROWS)
    first = submit(path)
    assert READING in _messages(recorder)
    shutil.rmtree(tmp_path / "work")
    again = submit(path)
    assert again.artifact == first.artifact
    assert READING not in _messages(recorder)
    version = first.result["dataset_version"]
    assert f"reused dataset {version}" in _messages(recorder)[-1]
    assert (first.result["is_reused"], again.result["is_reused"]) == (False, True)
    assert first.result | {"is_reused": True} == again.result
    assert first.metrics == again.metrics
    folder = fetch(again.artifact.uri, tmp_path / "none", digest=again.artifact.digest)
    assert load_report(folder)["dataset_version"] == version
    assert len(load_split(folder, "train")) == first.result["num_rows"]["train"]
    assert submit(path, project="another").artifact.uri != first.artifact.uri


def _change_a_byte(path: Path, model: Path) -> dict[str, Any]:
    path.write_bytes(path.read_bytes().replace(b"hello 3", b"hallo 3"))
    return {}


def _change_the_template(path: Path, model: Path) -> dict[str, Any]:
    config = model / "tokenizer_config.json"
    document = json.loads(config.read_text())
    template = model / "chat_template.jinja"
    if template.is_file():
        template.write_text(template.read_text() + "{# #}")
    else:
        config.write_text(json.dumps({**document, "chat_template": document["chat_template"] + "{# #}"}))
    return {}


def _change_a_benchmark(path: Path, model: Path) -> dict[str, Any]:
    benchmark = path.parent / "benchmark.jsonl"
    benchmark.write_text(benchmark.read_text().replace("nine", "ten"))
    return {}


CHANGES: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "a byte": _change_a_byte,
    "the template": _change_the_template,
    "a benchmark": _change_a_benchmark,
    "an option": lambda *_: {"seed": 1},
    "what is learned": lambda *_: {"objective": "pretrain"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_a_dataset_is_made_of_makes_another_one(
    change: Callable[[Path, Path], dict[str, Any]],
    write_rows: Callable[..., Path],
    submit: Callable[..., StageResult],
    model: Path,
) -> None:
    path = write_rows(ROWS)
    benchmark = write_rows([{"text": "one two three four five six seven eight nine"}], "benchmark.jsonl")
    asked = {"decontaminate": {"paths": [str(benchmark)]}}
    first = submit(path, **asked)
    settings = asked | change(path, model)
    other = submit(path, **settings)
    assert other.result["dataset_version"] != first.result["dataset_version"]
    assert not other.result["is_reused"]
    assert submit(path, **settings).artifact == other.artifact


NAMING: dict[str, Callable[[str], dict[str, Any]]] = {
    "names_model": lambda path: {"pii": {"action": "report", "names": "model", "names_model": path}},
    "thesaurus": lambda path: {"augment": {"min_samples": 10, "methods": ["synonyms"], "thesaurus": path}},
    "embedding_model": lambda path: {"select": {"influence": {"keep": 0.5, "embedding_model": path}}},
    "word list": lambda path: {"toxicity": {"classifier": {"type": "words", "path": path}}},
}


@pytest.mark.parametrize("section", NAMING.values(), ids=NAMING)
def test_files_beside_the_rows_count(
    section: Callable[[str], dict[str, Any]], tmp_path: Path, write_rows: Callable[..., Path], tokenizer: Any
) -> None:
    named = tmp_path / "named"
    named.write_text("one")
    spec = DataSpec.model_validate_json(json.dumps({"path": str(write_rows(ROWS)), **section(str(named))}))
    versions = []
    for text in ("one", "two", "one"):
        named.write_text(text)
        with find_inputs(spec, SftSpec(), tokenizer, lambda path, key: None, Remote(), tmp_path, LogReport()) as inputs:
            versions.append(inputs.version)
    assert versions[0] == versions[2] != versions[1]


def test_pseudonyms_by_another_key_are_another_dataset(
    write_rows: Callable[..., Path], submit: Callable[..., StageResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows([*ROWS, {"prompt": "who is it?", "completion": "jane.doe@example.com"}])
    versions = []
    for key in ("a" * 16, "b" * 16, "a" * 16):
        monkeypatch.setenv("LUTHIER_PSEUDONYM_KEY", key)
        versions.append(submit(path, pii={"action": "redact", "replacement": "pseudonym"}).result["dataset_version"])
    assert versions[0] == versions[2] != versions[1]


def test_it_outlives_the_job_that_made_it(
    tmp_path: Path, write_rows: Callable[..., Path], submit: Callable[..., StageResult]
) -> None:
    path = write_rows(ROWS)
    first = submit(path)
    shutil.rmtree(tmp_path / "artifacts" / "p" / "job_0", ignore_errors=True)
    assert submit(path).artifact == first.artifact


def test_a_damaged_one_is_computed_anew_and_left_where_it_is(
    tmp_path: Path, write_rows: Callable[..., Path], submit: Callable[..., StageResult]
) -> None:
    path = write_rows(ROWS)
    damaged = submit(path).artifact
    split = Path(local_path(damaged.uri)) / "train.arrow"
    content = bytearray(split.read_bytes())
    content[len(content) // 2] ^= 1
    split.write_bytes(bytes(content))
    second = submit(path)
    assert not second.result["is_reused"]
    assert second.artifact.uri != damaged.uri
    assert submit(path).artifact == second.artifact
    assert split.read_bytes() == bytes(content), "jobs that name it say what is wrong with it"


def test_of_two_at_once_both_end_well(tmp_path: Path) -> None:
    barrier = Barrier(4)

    def keep(number: int) -> Any:
        folder = tmp_path / f"output-{number}"
        folder.mkdir()
        (folder / "train.arrow").write_text("rows")
        store = DatasetStore(str(tmp_path / "datasets"), f"stg-{number}", tmp_path / "scratch")
        assert store.find("sha256:5eed") is None
        barrier.wait()
        return store.keep(folder, "sha256:5eed")

    with ThreadPoolExecutor(4) as pool:
        refs = [*pool.map(keep, range(4))]
    for ref in refs:
        fetch(ref.uri, tmp_path / "none", digest=ref.digest)
    late = DatasetStore(str(tmp_path / "datasets"), "stg-late", tmp_path / "scratch")
    folder = tmp_path / "late"
    folder.mkdir()
    assert late.keep(folder, "sha256:5eed") in refs, "what is there is not written twice"


def test_what_is_not_whole_or_of_another_version_is_passed_over(tmp_path: Path) -> None:
    store = DatasetStore(str(tmp_path), "stg", tmp_path / "scratch", b"key")
    for name, version, key in (("a.tmp", "sha256:1", b"key"), ("b", "sha256:2", b"key"), ("c", "sha256:1", b"another")):
        folder = tmp_path / f"output-{name}"
        folder.mkdir()
        publish(folder, str(tmp_path / "1" / name), extra={"dataset_version": version}, key=key)
    (tmp_path / "1" / "d").mkdir()
    assert store.find("sha256:1") is None


def test_the_attempt_refers_to_it(tmp_path: Path, write_rows: Callable[..., Path], model: Path, recorder: Any) -> None:
    path = write_rows(ROWS)
    outputs = []
    for number in range(2):
        task = _task(tmp_path, number, model, "p", "sft", path=str(path))
        outputs.append(run_attempt(task.assignment, task.work_dir, task.settings, recorder, STAGES))
    first, second = outputs
    assert isinstance(second, StageOutputs)
    assert first.artifact == second.artifact
    version = json.loads(second.result_json)["dataset_version"]
    assert second.artifact.uri.startswith(str(tmp_path / "artifacts" / "p" / "datasets" / version.partition(":")[2]))
