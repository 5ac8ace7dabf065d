"""The moving average of the weights is what is validated and kept; what the optimizer moves stays apart from it."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.workers.training.tiny_run import Recorder, make_engine, make_model, make_store, read_all, same, weights
from workers.failures import PreemptedError
from workers.training.average import Average

SETTINGS: dict[str, Any] = {"max_steps": 8, "eval_steps": 4}


def make_parameters() -> dict[str, nn.Parameter]:
    return {"a": nn.Parameter(torch.tensor([1.0, 2.0])), "b": nn.Parameter(torch.tensor([[3.0]]))}


def test_it_is_the_exponential_mean_and_starts_quickly() -> None:
    parameters = make_parameters()
    average = Average(parameters, 0.9)
    expected = parameters["a"].detach().clone()
    for step in range(120):
        with torch.no_grad():
            parameters["a"].add_(0.5)
        average.update()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * parameters["a"].detach()
    torch.testing.assert_close(average.tensors()["weights/a"], expected)
    assert torch.equal(average.tensors()["weights/b"], parameters["b"])


def test_swapped_in_and_back_to_the_bit() -> None:
    parameters = make_parameters()
    average = Average(parameters, 0.5)
    with torch.no_grad():
        parameters["a"].mul_(3)
    average.update()
    raw, averaged = weights_of(parameters), {key: value.clone() for key, value in average.tensors().items()}
    with suppress(ZeroDivisionError), average.in_the_model():
        assert torch.equal(parameters["a"], averaged["weights/a"])
        assert same(average.raw_weights(), raw), "a checkpoint of this moment holds what the optimizer moves"
        assert same(average.tensors(), averaged)
        raise ZeroDivisionError
    assert same(weights_of(parameters), raw)
    assert same(average.tensors(), averaged)


def test_without_a_decay_there_is_nothing() -> None:
    parameters = make_parameters()
    average = Average(parameters, None)
    before = weights_of(parameters)
    average.update()
    with average.in_the_model():
        assert same(weights_of(parameters), before)
        assert average.raw_weights() == {}
    average.keep()
    assert same(weights_of(parameters), before)
    assert average.tensors() == {}
    assert average.raw_weights() == {}


def test_what_comes_out_is_the_average(tmp_path: Path) -> None:
    raw_report, report = Recorder(), Recorder()
    make_engine(tmp_path / "raw", raw_report, model=make_model(dropout=0.0), **SETTINGS)[0].run()
    engine, model = make_engine(tmp_path / "ema", report, model=make_model(dropout=0.0), ema_decay=0.8, **SETTINGS)
    summary = engine.run()
    assert summary.best_step == 8
    for step in range(1, 9):
        assert report.rows[step]["loss"] == raw_report.rows[step]["loss"], "the training itself is the same"
    assert report.rows[8]["validation_loss"] != raw_report.rows[8]["validation_loss"]
    raw = make_store(tmp_path / "raw", raw_report).load(raw_report.checkpoints[0].uri)
    last = make_store(tmp_path / "ema", report).load(report.checkpoints[0].uri)
    assert same(read_all(last.weights), read_all(raw.weights))
    averaged = {name.removeprefix("average/weights/"): value for name, value in last.step.items() if "weights/" in name}
    assert same(weights(model), averaged)


def test_the_best_average_comes_out_when_it_was_an_earlier_one(tmp_path: Path) -> None:
    report = Recorder()
    engine, model = make_engine(tmp_path, report, ema_decay=0.5, learning_rate=0.5, eval_steps=1, max_steps=9)
    summary = engine.run()
    assert summary.best_step < 9
    best = next(checkpoint for checkpoint in report.checkpoints if checkpoint.step == summary.best_step)
    state = make_store(tmp_path, report).load(best.uri).step
    name, weight = next(iter(weights(model).items()))
    assert torch.equal(weight, state[f"average/weights/{name}"])


def test_a_drain_amid_validation_keeps_what_the_optimizer_moves(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SETTINGS, "ema_decay": 0.8, "pack_length": 16}
    straight_report = Recorder()
    _, straight = engine, _ = make_engine(tmp_path / "straight", straight_report, **settings)
    engine.run()
    for question in (9, 10):
        report = Recorder(lambda asked, at=question: asked == at)  # type: ignore[misc]
        with pytest.raises(PreemptedError):
            make_engine(tmp_path / f"first{question}", report, **settings)[0].run()
        resumed, model = make_engine(
            tmp_path / f"second{question}", Recorder(), earlier=report.checkpoints, fence=2, **settings
        )
        resumed.run()
        assert same(weights(model), weights(straight))


def weights_of(parameters: dict[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}
