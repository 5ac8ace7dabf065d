"""Real runner processes: one that SIGKILL ends while it trains, those that go on, and one that nobody disturbed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, Checkpoint, MetricPoint, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.contract import Message, decode, log_tail, read_outcome, write_task
from workers.data.dataset import write_split
from workers.models import load_tokenizer

pytestmark = pytest.mark.slow

TRAINING = {
    "num_train_epochs": 10,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "pack_length": 64,
    "eval_steps": 5,
    "save_steps": 3,
    "learning_rate": 0.005,
}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "r": 4, "lora_dropout": 0.2},
    "full": {"type": "full"},
}


class Attempt:
    """One runner process."""

    def __init__(self, assignment: StageAssignment, work_dir: Path, data_roots: Path) -> None:
        work_dir.mkdir(parents=True)
        write_task(work_dir, assignment)
        self.work_dir = work_dir
        self.messages: list[Message] = []
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "LUTHIER_DATA_ROOTS": str(data_roots),
            "LUTHIER_CHECKPOINT_KEY": "a key of the test",
        }
        with (work_dir / "runner.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.runner", str(work_dir)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )

    def follow(self, until: Callable[[Message], bool] = lambda _: False) -> None:
        """Reads what it says to its end. SIGKILL ends it once `until` is true of a message."""
        assert self.process.stdout is not None
        with self.process, self.process.stdout as pipe:
            for line in pipe:
                self.messages.append(decode(line))
                if until(self.messages[-1]):
                    self.process.send_signal(signal.SIGKILL)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Those that it reported, newest first."""
        return [message for message in reversed(self.messages) if isinstance(message, Checkpoint)]

    def result(self) -> tuple[dict[str, bytes], list[dict[str, Any]], dict[str, Any]]:
        """Files with weights, the rows of every step, the summary; without what depends on the clock."""
        outputs = read_outcome(self.work_dir)
        assert isinstance(outputs, StageOutputs), log_tail(self.work_dir)
        folder = Path(outputs.artifact.uri)
        files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        summary = json.loads((folder / "summary.json").read_text())
        for timed in (*rows, summary):
            del timed["tokens_per_second"]
        del summary["plan"]
        return files, rows, summary


@pytest.fixture
def start(tiny_model_dir: Path, tmp_path: Path) -> Callable[..., Attempt]:
    """A function that starts the given attempt at a train stage."""
    ref = publish(_write_dataset(tmp_path / "new", tiny_model_dir), str(tmp_path / "dataset"))
    inputs = {"preprocess": StageOutputs(artifact=Artifact(uri=ref.uri, digest=ref.digest))}

    def begin(method: str, name: str, fence: int = 1, checkpoints: Sequence[Checkpoint] = ()) -> Attempt:
        spec = {
            "name": "job",
            "base_model": str(tiny_model_dir),
            "data": {"path": "/data.jsonl", "max_length": 64},
            "method": METHODS[method],
            "training": TRAINING,
        }
        assignment = StageAssignment(
            stage=Stage(stage_id="s", job_id="j", name="train", kind="train", attempt=fence, fence=fence),
            spec_json=json.dumps(spec),
            inputs=inputs,
            output_uri=str(tmp_path / name / "out"),
            checkpoints=checkpoints,
        )
        return Attempt(assignment, tmp_path / name / "work", tiny_model_dir.parent)

    return begin


def _write_dataset(folder: Path, model: Path) -> Path:
    tokenizer = load_tokenizer(model)
    folder.mkdir()
    for name, num_rows in {"train": 60, "validation": 6, "test": 0}.items():
        rows = []
        for number in range(num_rows):
            ids = tokenizer.encode(f"question {number} of {name}")
            answer = tokenizer.encode(f"answer {number % 3}")
            labels = [False] * len(ids) + [True] * len(answer)
            place = {"row": number + 1, "source": "rows.jsonl"}
            rows.append({**place, "input_ids": [*ids, *answer], "trainable": labels})
        write_split(folder, name, rows)
    return folder


def _trained(step: int) -> Callable[[Message], bool]:
    return lambda message: isinstance(message, MetricPoint) and message.step == step


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.soak if name == "full" else ()) for name in METHODS]
)
def test_two_attempts_that_were_killed_and_a_third_make_the_same_model(
    start: Callable[..., Attempt], method: str
) -> None:
    straight = start(method, "straight")
    straight.follow()
    first = start(method, "first", fence=1)
    first.follow(_trained(8))
    assert read_outcome(first.work_dir) is None
    assert first.checkpoints
    reached = first.checkpoints[0].step
    second = start(method, "second", fence=2, checkpoints=first.checkpoints)
    second.follow(_trained(reached + 5))
    assert read_outcome(second.work_dir) is None
    assert second.checkpoints
    third = start(method, "third", fence=3, checkpoints=[*second.checkpoints, *first.checkpoints])
    third.follow()
    files, rows, summary = third.result()
    expected_files, expected_rows, expected_summary = straight.result()
    assert summary.pop("resumed_from_step") == second.checkpoints[0].step
    assert expected_summary.pop("resumed_from_step") is None
    assert rows == expected_rows
    assert summary == expected_summary
    assert files
    assert files == expected_files
