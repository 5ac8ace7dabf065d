"""The stage: dataset and model in; a plain PEFT adapter, figures and the curve out; resumed across attempts."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from luthier.artifacts import ArtifactRef, publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, Checkpoint, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.data.dataset import write_split
from workers.failures import PreemptedError
from workers.models import load_model, load_tokenizer
from workers.task import Task
from workers.training import stage

TRAINING = {"max_steps": 4, "eval_steps": 2, "pack_length": 128, "precision": "fp32", "learning_rate": 0.01}

LORA = {"type": "lora", "r": 4, "lora_dropout": 0.1}
FULL = {"type": "full"}


class Recorder:
    """Remembers checkpoints; asks to stop after a number of steps, or once it has been asked so often."""

    def __init__(self, stop_after: int | None = None, stop_at_question: int | None = None) -> None:
        self.num_steps = 0
        self.num_questions = 0
        self._stop_at_question = stop_at_question
        self.checkpoints: list[Checkpoint] = []
        self._stop_after = stop_after

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """Not asked for here."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.num_steps += "loss" in values

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        self.checkpoints.insert(0, Checkpoint(uri=ref.uri, digest=ref.digest, step=step))

    def retire(self, uris: Sequence[str]) -> None:
        """Not asked for here."""

    def should_stop(self) -> bool:
        self.num_questions += 1
        return self.num_steps == self._stop_after or self.num_questions == self._stop_at_question


@pytest.fixture
def make_task(tiny_model_dir: Path, tmp_path: Path) -> Callable[..., Task]:
    """A function that makes the task of the given attempt."""
    ref = publish(_write_dataset(tmp_path / "new", tiny_model_dir), str(tmp_path / "dataset"))
    dataset = StageOutputs(artifact=Artifact(uri=ref.uri, digest=ref.digest))

    def make(
        attempt: int, checkpoints: list[Checkpoint] | None = None, method: Mapping[str, Any] | None = None
    ) -> Task:
        document: dict[str, Any] = {
            "name": "job",
            "base_model": str(tiny_model_dir),
            "data": {"path": "/data.jsonl", "max_length": 128},
            "method": method or LORA,
            "training": TRAINING,
        }
        assignment = StageAssignment(
            stage=Stage(stage_id="s", job_id="j", name="train", kind="train", attempt=attempt, fence=attempt),
            inputs={"preprocess": dataset},
            output_uri=str(tmp_path / f"attempt-{attempt}"),
            checkpoints=checkpoints or [],
        )
        work_dir = tmp_path / f"work-{attempt}"
        work_dir.mkdir()
        settings = WorkerSettings.model_validate(
            {"data_roots": str(tiny_model_dir.parent), "checkpoint_key": "key of the test"}
        )
        return Task(assignment, JobSpec.model_validate(document), settings, work_dir)

    return make


def _write_dataset(folder: Path, model: Path) -> Path:
    tokenizer = load_tokenizer(model)
    folder.mkdir()
    for name, num_rows in {"train": 30, "validation": 4, "test": 0}.items():
        rows = []
        for number in range(num_rows):
            ids = tokenizer.encode(f"question {number} of {name}")
            answer = tokenizer.encode(f"answer {number % 3}")
            labels = [False] * len(ids) + [True] * len(answer)
            place = {"row": number + 1, "source": "rows.jsonl"}
            rows.append({**place, "input_ids": [*ids, *answer], "trainable": labels})
        write_split(folder, name, rows)
    return folder


def test_the_artifact_is_complete_and_plain(make_task: Callable[..., Task], tiny_model_dir: Path) -> None:
    report = Recorder()
    result = stage.run(make_task(1), report)
    folder = result.folder
    assert folder is not None
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert json.loads((folder / "summary.json").read_text()) == result.result
    assert result.result["precision"] == "float32"
    kernels = result.result["kernels"]
    assert (kernels["attention"], kernels["layers"], kernels["loss"]) == ("grouped", "transformers", "logits")
    assert kernels["passed_over"]["layers.liger"] == "runs on CUDA only, not on cpu"
    assert result.result["resumed_from_step"] is None
    headline = {"validation_loss", "train_loss", "tokens_per_second", "num_steps", "peak_memory_bytes"}
    assert set(result.metrics) == headline
    for figures in (result.result["plan"]["peak_memory_bytes"], result.result["plan"]["training_seconds"]):
        assert figures["predicted"] > 0
        assert figures["actual"] > 0
    assert (folder / "loss.svg").read_text().lstrip().startswith("<?xml")
    adapter = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tiny_model_dir)
    model = PeftModel.from_pretrained(load_model(tiny_model_dir, torch.float32), str(folder / "adapter"))
    assert any("lora_B" in name and tensor.abs().sum() > 0 for name, tensor in model.named_parameters())


@pytest.mark.parametrize(
    ("method", "file"), [(LORA, "adapter/adapter_model.safetensors"), (FULL, "model/model.safetensors")]
)
def test_a_second_attempt_ends_where_one_alone_would(
    make_task: Callable[..., Task], method: Mapping[str, Any], file: str
) -> None:
    whole = stage.run(make_task(1, method=method), Recorder())
    stopped = Recorder(stop_after=3)
    with pytest.raises(PreemptedError):
        stage.run(make_task(2, method=method), stopped)
    assert [Path(checkpoint.uri).name for checkpoint in stopped.checkpoints] == ["3.2", "2.2"]
    second = stage.run(make_task(3, stopped.checkpoints, method), Recorder())
    assert whole.folder is not None
    assert second.folder is not None
    assert second.result["resumed_from_step"] == 3
    assert (whole.folder / file).read_bytes() == (second.folder / file).read_bytes()


@pytest.mark.parametrize("question", [1, 2, 3])
def test_asked_to_stop_while_the_model_is_loaded_it_leaves_nothing(
    make_task: Callable[..., Task], question: int
) -> None:
    task, report = make_task(1), Recorder(stop_at_question=question)
    with pytest.raises(PreemptedError, match="while the model was being loaded"):
        stage.run(task, report)
    assert report.num_questions == question
    assert report.checkpoints == []
    assert not Path(task.output_uri).exists()


def test_a_later_attempt_computes_as_the_first_one_did(
    make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a probe would say by then."""
    monkeypatch.setattr(stage, "choose_dtype", lambda *_, **__: torch.bfloat16)
    stopped = Recorder(stop_after=2)
    with pytest.raises(PreemptedError):
        stage.run(make_task(1), stopped)
    monkeypatch.setattr(stage, "choose_dtype", lambda *_, **__: torch.float32)
    assert stage.run(make_task(2, stopped.checkpoints), Recorder()).result["precision"] == "bfloat16"


def test_smaller_forward_passes_reach_the_engine(make_task: Callable[..., Task]) -> None:
    whole, halved = Recorder(), Recorder()
    tasks = make_task(1), make_task(2)
    tasks[1].assignment.stage.refit = 2
    digests = []
    for task, report in zip(tasks, (whole, halved), strict=True):
        folder = stage.run(task, report).folder
        assert folder is not None
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        digests.append([row["samples"] for row in rows])
    assert digests[0] == digests[1]
    assert halved.num_questions > whole.num_questions, "it asks before every forward pass"
