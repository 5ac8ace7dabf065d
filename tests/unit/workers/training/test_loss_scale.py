"""fp16: the loss is scaled so that small gradients survive, and an overflow lowers the scale and nothing else."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.workers.training.tiny_run import Recorder, make_engine, make_model, weights
from workers.failures import DivergedError
from workers.training.loss_scale import LossScale
from workers.training.objectives import sft as module
from workers.training.objectives.sft import summed_loss
from workers.training.packing import Batch

CPU = torch.device("cpu")
SETTINGS: dict[str, Any] = {"max_steps": 12, "eval_steps": 4, "compute": torch.float16}


def step(scale: LossScale, parameter: nn.Parameter, loss: torch.Tensor) -> torch.Tensor:
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    parameter.grad = None
    scale.scaled(loss).backward()
    scale.unscale(optimizer)
    scale.update()
    assert parameter.grad is not None
    return parameter.grad


def test_gradients_come_out_as_they_would_without() -> None:
    parameter = nn.Parameter(torch.tensor(3.0))
    scale = LossScale(torch.float16, CPU)
    assert scale.figures() == {"loss_scale": 65536.0}
    assert step(scale, parameter, parameter * 2) == 2.0


def test_an_overflow_halves_the_scale_and_is_not_the_fault_of_the_step() -> None:
    parameter = nn.Parameter(torch.tensor(1.0))
    scale = LossScale(torch.float16, CPU)
    gradient = step(scale, parameter, parameter * math.inf)
    assert scale.figures() == {"loss_scale": 32768.0}
    assert scale.is_to_blame(1.0, float(gradient))
    assert not scale.is_to_blame(math.nan, float(gradient))
    assert not scale.is_to_blame(1.0, 5.0)
    for _ in range(16):
        step(scale, parameter, parameter * math.inf)
    assert not scale.is_to_blame(1.0, math.nan), "the scale is below one: the gradient itself is too large"


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_other_dtypes_have_no_scale(compute: torch.dtype) -> None:
    parameter = nn.Parameter(torch.tensor(3.0))
    scale = LossScale(compute, CPU)
    assert step(scale, parameter, parameter * 2) == 2.0
    assert not scale.is_to_blame(1.0, math.nan)
    assert (scale.figures(), scale.tensors()) == ({}, {})


def test_its_state_is_tensors() -> None:
    parameter = nn.Parameter(torch.tensor(1.0))
    scale, other = LossScale(torch.float16, CPU), LossScale(torch.float16, CPU)
    step(scale, parameter, parameter * math.inf)
    step(scale, parameter, parameter * 1.0)
    other.load_tensors(scale.tensors())
    assert other.tensors() == scale.tensors()
    assert other.figures() == {"loss_scale": 32768.0}


def test_a_run_in_fp16_learns(tmp_path: Path) -> None:
    report, exact = Recorder(), Recorder()
    make_engine(tmp_path / "16", report, model=make_model(dropout=0.0), **SETTINGS)[0].run()
    make_engine(tmp_path / "32", exact, model=make_model(dropout=0.0), **SETTINGS | {"compute": torch.float32})[0].run()
    assert report.rows[1]["loss"] == pytest.approx(exact.rows[1]["loss"], rel=1e-3)
    assert sum("grad_norm" in row for row in report.rows.values()) >= 10, "few steps are lost to the first scales"
    assert report.rows[12]["validation_loss"] == pytest.approx(exact.rows[12]["validation_loss"], rel=0.1)
    assert "loss_scale" not in exact.rows[1]


def test_overflows_are_left_out_without_being_counted(tmp_path: Path) -> None:
    """As if fp16 ended at 2^14."""
    model = make_model(dropout=0.0)
    for parameter in weights_that_train(model):
        parameter.register_hook(lambda gradient: gradient * math.inf if gradient.abs().max() > 2**14 else gradient)
    report = Recorder()
    engine, _ = make_engine(tmp_path, report, model=model, max_skipped_steps=1, **SETTINGS)
    summary = engine.run()
    assert summary.skipped == []
    first = report.rows[1]
    assert "grad_norm" not in first
    assert first["loss_scale"] == 32768.0
    assert "grad_norm" in report.rows[12]
    assert summary.train_loss < first["loss"]


def test_an_activation_that_overflows_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflowing(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
        return summed_loss(model, batch, compute) * math.inf

    monkeypatch.setattr(module, "summed_loss", overflowing)
    engine, model = make_engine(tmp_path, Recorder(), validation=[], max_skipped_steps=2, **SETTINGS)
    before = weights(model)
    with pytest.raises(DivergedError, match="at step 2"):
        engine.run()
    assert all(torch.equal(before[name], weight) for name, weight in weights(model).items())


def weights_that_train(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
