"""A real runner with two ranks: one of them is lost, the runner is lost, the worker drains, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import PeftModel

from luthier.artifacts import publish
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Artifact, Checkpoint, MetricPoint, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.contract import Message, decode, log_tail, read_outcome, write_task
from workers.data.dataset import write_split
from workers.models import load_model, load_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

NUM_STEPS = 40
TRAINING = {
    "max_steps": NUM_STEPS,
    "gradient_accumulation_steps": 2,
    "pack_length": 64,
    "eval_steps": 20,
    "save_steps": 3,
    "precision": "fp32",
}


class Attempt:
    """One runner process, leader of a session of its own as under a supervisor."""

    def __init__(self, assignment: StageAssignment, work_dir: Path, data_roots: Path) -> None:
        work_dir.mkdir(parents=True)
        write_task(work_dir, assignment)
        self.work_dir = work_dir
        self.messages: list[Message] = []
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "LUTHIER_DATA_ROOTS": str(data_roots),
            "LUTHIER_CHECKPOINT_KEY": "a key of the test",
        }
        receiving, sending = os.pipe()
        argv = [sys.executable, "-P", "-m", "workers.runner", "--parent", str(os.getpid()), "--report-fd", str(sending)]
        with (work_dir / "runner.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, str(work_dir)],
                pass_fds=(sending,),
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        os.close(sending)
        self._pipe = os.fdopen(receiving, "rb")

    def until_step(self, step: int) -> None:
        """Reads what it says until it has done `step`."""
        for line in self._pipe:
            self.messages.append(decode(line))
            if isinstance(self.messages[-1], MetricPoint) and self.messages[-1].step == step:
                return
        raise AssertionError(log_tail(self.work_dir))

    def until_end(self) -> StageOutputs | Failure | None:
        """Reads the rest; how the attempt ended."""
        with self._pipe as pipe:
            self.messages += [decode(line) for line in pipe]
        self.process.wait(60)
        return read_outcome(self.work_dir)

    def ranks(self) -> dict[int, psutil.Process]:
        """The processes of the ranks."""
        return {
            int(child.environ()["RANK"]): child
            for child in psutil.Process(self.process.pid).children(recursive=True)
            if "workers.training.distributed.rank" in child.cmdline() and "RANK" in child.environ()
        }

    def checkpoints(self) -> list[Checkpoint]:
        """Those that it reported, newest first."""
        return [message for message in reversed(self.messages) if isinstance(message, Checkpoint)]


@pytest.fixture
def start(tiny_model_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Attempt]]:
    """A function that starts an attempt at a train stage."""
    ref = publish(_write_dataset(tmp_path / "new", tiny_model_dir), str(tmp_path / "dataset"))
    inputs = {"preprocess": StageOutputs(artifact=Artifact(uri=ref.uri, digest=ref.digest))}
    started: list[Attempt] = []

    def begin(
        fence: int, num_ranks: int = 2, checkpoints: Sequence[Checkpoint] = (), strategy: dict[str, Any] | None = None
    ) -> Attempt:
        spec = {
            "name": "job",
            "base_model": str(tiny_model_dir),
            "data": {"path": "/data.jsonl", "max_length": 64},
            "method": {"type": "lora", "r": 4},
            "training": TRAINING,
            "resources": {"num_ranks": num_ranks, "distributed": strategy or {"type": "ddp"}},
        }
        assignment = StageAssignment(
            stage=Stage(stage_id="s", job_id="j", name="train", kind="train", attempt=fence, fence=fence),
            spec_json=json.dumps(spec),
            inputs=inputs,
            output_uri=str(tmp_path / str(fence) / "out"),
            checkpoints=checkpoints,
        )
        started.append(Attempt(assignment, tmp_path / str(fence) / "work", tiny_model_dir.parent))
        return started[-1]

    yield begin
    for attempt in started:
        attempt.process.kill()
        attempt.process.wait()


def _write_dataset(folder: Path, model: Path) -> Path:
    tokenizer = load_tokenizer(model)
    folder.mkdir()
    for name, num_rows in {"train": 60, "validation": 6, "test": 0}.items():
        rows = []
        for number in range(num_rows):
            ids = tokenizer.encode(f"question {number} of {name}")
            answer = tokenizer.encode(f"answer {number % 3}")
            labels = [False] * len(ids) + [True] * len(answer)
            row = {"row": number + 1, "source": "rows.jsonl", "input_ids": [*ids, *answer], "trainable": labels}
            rows.append(row)
        write_split(folder, name, rows)
    return folder


def test_a_lost_rank_ends_the_attempt_and_one_rank_finishes_the_run(start: Callable[..., Attempt]) -> None:
    first = start(1)
    first.until_step(8)
    ranks = first.ranks()
    assert sorted(ranks) == [0, 1]
    assert {rank.environ()["OMP_NUM_THREADS"] for rank in ranks.values()} == {"1"}
    listening = [one.laddr.ip for rank in ranks.values() for one in rank.net_connections() if one.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}
    ranks[1].kill()
    failure = first.until_end()
    assert isinstance(failure, Failure)
    assert failure.failure_class == FailureClass.FAILURE_CLASS_LOST_WORKER
    assert psutil.wait_procs(list(ranks.values()), timeout=5)[1] == []
    second = start(2, num_ranks=1, checkpoints=first.checkpoints())
    outputs = second.until_end()
    assert isinstance(outputs, StageOutputs), log_tail(second.work_dir)
    summary = json.loads((Path(outputs.artifact.uri) / "summary.json").read_text())
    assert summary["resumed_from_step"] == first.checkpoints()[0].step >= 6
    assert summary["num_steps"] == NUM_STEPS


@pytest.mark.soak
def test_asked_to_stop_all_ranks_do_and_two_others_finish_the_run(start: Callable[..., Attempt]) -> None:
    first = start(1)
    first.until_step(7)
    first.process.send_signal(signal.SIGTERM)
    failure = first.until_end()
    assert isinstance(failure, Failure)
    assert failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED, failure
    second = start(2, checkpoints=first.checkpoints())
    outputs = second.until_end()
    assert isinstance(outputs, StageOutputs), log_tail(second.work_dir)
    assert {message.step for message in second.messages if isinstance(message, MetricPoint)} == {
        *range(first.checkpoints()[0].step + 1, NUM_STEPS + 1)
    }


@pytest.mark.soak
def test_nothing_of_the_ranks_outlives_the_runner(start: Callable[..., Attempt]) -> None:
    attempt = start(1)
    attempt.until_step(3)
    kin = psutil.Process(attempt.process.pid).children(recursive=True)
    assert len(kin) >= 4, "the guard, torchrun and two ranks"
    attempt.process.kill()
    assert psutil.wait_procs(kin, timeout=5)[1] == []


@pytest.mark.soak
@pytest.mark.parametrize("strategy", [{"type": "zero", "stage": 3}, {"type": "fsdp"}], ids=lambda one: one["type"])
def test_divided_weights_become_a_plain_adapter(
    start: Callable[..., Attempt], tiny_model_dir: Path, strategy: dict[str, Any]
) -> None:
    attempt = start(1, strategy=strategy)
    outputs = attempt.until_end()
    assert isinstance(outputs, StageOutputs), log_tail(attempt.work_dir)
    summary = json.loads((Path(outputs.artifact.uri) / "summary.json").read_text())
    model = PeftModel.from_pretrained(
        load_model(tiny_model_dir, torch.float32), str(Path(outputs.artifact.uri) / "adapter"), is_trainable=True
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trained) == summary["num_trainable_parameters"] > 0
    assert all(parameter.abs().sum() > 0 for parameter in trained)
