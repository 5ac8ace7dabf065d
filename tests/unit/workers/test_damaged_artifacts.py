"""One flipped bit in any file of what a stage reads: the stage fails for good, and names stage and file."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from luthier.artifacts import publish
from luthier.client.types import Artifact as ArtifactOfClient
from luthier.errors import LuthierError
from luthier.local.demo import tell
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.stage_pb2 import Artifact, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from tests.bit_flip import files_of, flipped
from workers.deployment import stage as deployment
from workers.evaluation import stage as evaluation
from workers.export import stage as export
from workers.export.triton import write_repository
from workers.failures import classify
from workers.task import StageFunction, Task
from workers.training import stage as training

QUESTIONS = ("red", "green", "yellow", "blue")
STAGES: dict[str, StageFunction] = {"train": training.run, "evaluate": evaluation.run, "export": export.run}


@pytest.fixture
def deploy_task(tiny_model_dir: Path, tmp_path: Path) -> Task:
    """A deployment to a Triton that nobody reaches."""
    write_repository(tiny_model_dir, tmp_path / "new" / "triton", "demo-1", max_new_tokens=8)
    ref = publish(tmp_path / "new", str(tmp_path / "exported"))
    exported = StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps({"triton_model": "demo-1"})
    )
    spec = {"name": "demo", "base_model": "tiny", "data": {"path": "/rows.jsonl"}, "deploy": {}}
    return Task(
        assignment=StageAssignment(stage=Stage(name="deploy", kind="deploy"), inputs={"export": exported}),
        spec=JobSpec.model_validate(spec),
        settings=WorkerSettings(triton_url="127.0.0.1:1", triton_repository=tmp_path / "repository"),
        work_dir=tmp_path,
    )


def _assert_every_file_counts(run: StageFunction, task: Task, needed: str, report: object) -> None:
    folder = Path(task.input(needed).artifact.uri)
    files = files_of(folder)
    assert folder / "manifest.json" in files
    for path in files:
        with flipped(path), pytest.raises(Exception, match=rf"what stage {needed} left is damaged") as caught:
            run(task, report)
        failure = classify(caught.value, [folder])
        assert failure.failure_class == FailureClass.FAILURE_CLASS_DATA, "another try would read the same bits"
        assert str(path) in failure.message


@pytest.mark.parametrize("kind", list(STAGES))
def test_a_flipped_bit_in_the_dataset(tuned_task: Callable[..., Task], quiet_report, kind: str) -> None:
    task = tuned_task(kind, train=QUESTIONS, validation=QUESTIONS)
    _assert_every_file_counts(STAGES[kind], task, "preprocess", quiet_report)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("kind", ["evaluate", "export"])
def test_a_flipped_bit_in_what_training_left(
    tuned_task: Callable[..., Task], quiet_report, kind: str, method: str
) -> None:
    task = tuned_task(kind, method={"type": method})
    _assert_every_file_counts(STAGES[kind], task, "train", quiet_report)


def test_a_flipped_bit_in_the_export(deploy_task: Task, quiet_report) -> None:
    _assert_every_file_counts(deployment.run, deploy_task, "export", quiet_report)
    assert not deploy_task.settings.triton_repository.exists()


def test_a_flipped_bit_in_the_evaluation(tmp_path: Path) -> None:
    """Later stages take its figures from the database; `luthier demo` reads its files."""
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("evaluation.json", "generations.jsonl", "report.md", "comparison.svg"):
        (folder / name).write_text(f'{{"name": "{name}"}}')
    ref = publish(folder, str(tmp_path / "evaluation"))
    stage = SimpleNamespace(
        name="evaluate",
        artifact=ArtifactOfClient(ref.uri, ref.digest, ref.num_bytes),
        result={"metrics": {}, "confidence_level": 0.95, "num_rows": 4, "parity": {}},
    )
    job = SimpleNamespace(id="job_1", name="demo", deployment_id="dep_1", stages=[stage], stage=lambda _: stage)
    client = SimpleNamespace(deployments=SimpleNamespace(get=lambda _: SimpleNamespace(id="dep_1", name="demo")))
    for path in files_of(tmp_path / "evaluation"):
        with flipped(path), pytest.raises(LuthierError, match="the evaluation is damaged") as caught:
            tell(client, job)
        assert str(path) in str(caught.value)
