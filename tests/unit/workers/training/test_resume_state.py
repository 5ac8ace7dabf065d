"""Whatever a step keeps for the next one is in the checkpoint: killed and resumed, a run ends with the same bits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import KilledError, Killer, Outcome, Recorder, make_engine, make_model

CADENCE = {"gradient_accumulation_steps": 2, "num_train_epochs": 3.5, "eval_steps": 5, "save_steps": 3}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("lora", {"optim": "sgd", "learning_rate": 0.5}),
    "lamb": ("full", {"optim": "lamb"}),
    "adafactor": ("full", {"optim": "adafactor"}),
    "adamw_8bit": ("full", {"optim": "adamw_8bit", "learning_rate": 2e-3}),
    "average": ("lora", {"ema_decay": 0.7}),
    "fp16": ("lora", {"compute": torch.float16}),
}


def start(folder: Path, report: Recorder, name: str, **arguments: Any) -> Outcome:
    method, settings = RUNS[name]
    return Outcome.of(
        *make_engine(folder, report, model=make_model(method, dropout=0.2), **CADENCE | settings, **arguments)
    )


def kill(folder: Path, report: Killer, name: str, **arguments: Any) -> list[Checkpoint]:
    with pytest.raises(KilledError):
        start(folder, report, name, **arguments)
    torch.rand(17)  # a new process would not find the generator where the old one left it
    return report.checkpoints


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_the_same(tmp_path: Path, name: str) -> None:
    straight = start(tmp_path / "straight", Recorder(), name)
    assert straight.rows[-1]["loss"] < 0.95 * straight.rows[0]["loss"]
    left = kill(tmp_path / "1", Killer(5, saved=False), name)
    left = kill(tmp_path / "2", Killer(9, saved=True), name, earlier=left, fence=2) + left
    assert start(tmp_path / "3", Recorder(), name, earlier=left, fence=3) == straight
