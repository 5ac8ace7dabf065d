"""A step that would do harm is left out: nothing moves, it is said which rows it was, and too many are the end."""

import json
import math
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from luthier.spec import TrainingSpec
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Outcome,
    Recorder,
    make_documents,
    make_engine,
    make_model,
    make_store,
    read_all,
    same,
    weights,
)
from workers.failures import DivergedError
from workers.training.objectives import sft as module
from workers.training.objectives.sft import summed_loss
from workers.training.packing import Batch
from workers.training.samples import Sample
from workers.training.skipping import check_learned, check_loss, reason_to_skip, recent_norms, rows_of, usual_norm
from workers.training.state import Progress, Skipped

SPEC = TrainingSpec(spike_factor=10.0, max_grad_norm=1.0)
SETTINGS: dict[str, Any] = {"packing": False, "per_device_train_batch_size": 4, "max_steps": 30, "spike_factor": 3.0}


def poison(monkeypatch: pytest.MonkeyPatch, factor: float, numbers: Collection[int]) -> None:
    """Multiplies the loss of the training passes that have one of these rows, and the gradient with it."""

    def measured(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
        loss = summed_loss(model, batch, compute)
        hit = model.training and any(sample.number in numbers for sample in batch.samples)
        return loss * factor if hit else loss

    monkeypatch.setattr(module, "summed_loss", measured)


def test_a_norm_is_a_spike_by_the_median_of_the_last_ones() -> None:
    assert reason_to_skip(1.0, 99.0, 10.0, SPEC) is None
    assert "gradient norm 101" in str(reason_to_skip(1.0, 101.0, 10.0, SPEC))
    assert "10.1 times the usual 10" in str(reason_to_skip(1.0, 101.0, 10.0, SPEC))
    assert reason_to_skip(1.0, 101.0, None, SPEC) is None, "too few steps to know"
    assert reason_to_skip(1.0, 0.9, 0.01, SPEC) is None, "smaller than what gradients are clipped to"
    assert reason_to_skip(1.0, 1e9, 1.0, TrainingSpec(spike_factor=None)) is None
    for loss, norm in ((math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)):
        assert f"loss {loss:.4g}, gradient norm {norm:.4g}" in str(reason_to_skip(loss, norm, None, SPEC))


def test_the_median_is_of_steps_that_were_taken() -> None:
    rows: list[dict[str, float]] = [{"step": float(step), "grad_norm": 2.0} for step in range(100)]
    assert usual_norm(recent_norms(rows)) == 2.0
    spikes = [{"step": 100.0, "grad_norm": 500.0, "skipped_steps": 1.0}] * 90
    assert usual_norm(recent_norms(rows + spikes)) == 2.0
    assert usual_norm(recent_norms(rows[:5])) is None
    assert recent_norms([]) == []
    assert usual_norm([0.0] * 40 + [2.0] * 16) == 2.0, "a step without a gradient says nothing of the others"
    assert usual_norm([0.0] * 64) is None


@pytest.mark.parametrize("factor", [math.nan, math.inf, 1e4])
def test_a_harmful_step_leaves_everything_as_it_was(
    tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row comes in each of three epochs; in the last one the usual norm is known."""
    poison(monkeypatch, factor, {7})
    report = Recorder()
    engine, model = make_engine(
        tmp_path, report, model=make_model(dropout=0.0), validation=[], save_steps=1, save_total_limit=99, **SETTINGS
    )
    summary = engine.run()
    assert len(summary.skipped) in (1, 2, 3)
    last = summary.skipped[-1]
    assert last.step > 16
    assert report.rows[last.step]["skipped_steps"] == len(summary.skipped)
    assert all(math.isfinite(value) for row in report.rows.values() for value in row.values())
    assert any("row 8 of its split" in row for row in last.rows)
    assert len(last.rows) == 4
    store = make_store(tmp_path, report)
    before, after = (
        store.load(next(c.uri for c in report.checkpoints if c.step == step)) for step in (last.step - 1, last.step)
    )
    assert same(read_all(before.weights), read_all(after.weights))
    assert same(read_all(before.optimizer), read_all(after.optimizer))
    assert not same(read_all(before.weights), weights(model)), "the steps after it learned"
    assert math.isfinite(summary.train_loss)


def test_too_many_in_a_row_are_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, math.inf, range(40))
    report = Recorder()
    engine, model = make_engine(tmp_path, report, validation=[], **SETTINGS | {"max_skipped_steps": 3})
    before = weights(model)
    said = r"(?s)at step 3: 3 steps in a row.*loss inf.*rate 0\.0\d+.*lower training\.learning.*row \d+ of its split"
    with pytest.raises(DivergedError, match=said):
        engine.run()
    assert same(before, weights(model))


def test_weights_that_are_not_finite_end_the_run_at_once(tmp_path: Path) -> None:
    model = make_model()
    with torch.no_grad():
        next(weight for weight in model.parameters() if weight.requires_grad).fill_(math.inf)
    engine, _ = make_engine(tmp_path, Recorder(), model=model, validation=[], **SETTINGS)
    with pytest.raises(DivergedError, match=r"at step 1: loss nan, gradient norm nan, learning rate 0\.0\d+; lower"):
        engine.run()


def test_a_learning_rate_that_wrecks_a_good_model_ends_the_run(tmp_path: Path) -> None:
    """Its loss stays finite, and far above where it was."""
    good = make_model("full")
    make_engine(tmp_path / "good", Recorder(), model=good, validation=[], max_steps=40)[0].run()
    wild = {"learning_rate": 1.0, "warmup_ratio": 0.9, "max_steps": 200, "packing": False}
    engine, _ = make_engine(tmp_path / "wild", Recorder(), model=good, validation=[], **wild)
    with pytest.raises(
        DivergedError, match=r"loss was \d.*in the first 16 steps and is \d.*, learning rate \d.*: row \d+ of"
    ):
        engine.run()


def test_a_loss_has_run_away_when_it_is_four_times_that_of_the_start() -> None:
    def rows(*losses: float) -> list[dict[str, float]]:
        figures = {"grad_norm": 1.0, "learning_rate": 0.1}
        return [{"step": float(step), "loss": loss, **figures} for step, loss in enumerate(losses, start=1)]

    def last_samples() -> list[Sample]:
        return [Sample(3, (), origin="chats.jsonl:12")]

    check_loss(rows(*[1.0] * 16, *[3.9] * 16), last_samples)
    check_loss(rows(*[1.0] * 16, *[9.0] * 7), last_samples)
    check_loss(rows(*[0.01] * 16, *[0.9] * 16), last_samples)
    check_loss([{"step": 1.0, "skipped_steps": 1.0}] * 40, last_samples)
    said = r"at step 32: the loss was 1 .* is 4\.1 .*learning rate 0\.1; lower .* the last one: chats\.jsonl:12$"
    with pytest.raises(DivergedError, match=said):
        check_loss(rows(*[1.0] * 16, *[4.1] * 16), last_samples)


def test_what_is_skipped_now_and_then_is_not_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, math.nan, {1, 5, 9})
    engine, _ = make_engine(tmp_path, Recorder(), validation=[], **SETTINGS | {"max_skipped_steps": 9})
    assert len(engine.run().skipped) > 3


def test_a_run_in_which_no_step_was_taken_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, math.nan, range(40))
    engine, _ = make_engine(tmp_path, Recorder(), validation=[], **SETTINGS | {"max_steps": 2})
    with pytest.raises(DivergedError, match="not one of 2 steps"):
        engine.run()
    with pytest.raises(DivergedError):
        check_learned([{"step": 1.0, "loss": 2.0}])
    check_learned([{"step": 1.0, "loss": 2.0, "grad_norm": 1.0}])


@pytest.mark.parametrize("step", [6, 26])
def test_skips_survive_a_restart(tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 1e4, {7, 21})
    straight = Outcome.of(*make_engine(tmp_path / "straight", Recorder(), **SETTINGS))
    assert any("skipped_steps" in row for row in straight.rows)
    killer = Killer(step, saved=False)
    with pytest.raises(KilledError):
        make_engine(tmp_path / "first", killer, **SETTINGS)[0].run()
    resumed, model = make_engine(tmp_path / "second", Recorder(), earlier=killer.checkpoints, fence=2, **SETTINGS)
    assert Outcome.of(resumed, model) == straight


def test_skips_are_part_of_the_progress() -> None:
    progress = Progress(step=4, skipped=[Skipped(3, "loss nan, gradient norm nan", ["a.jsonl:7"])])
    assert Progress.of_json(json.loads(json.dumps(progress.to_json()))) == progress
    copy = progress.detached()
    progress.skipped.append(Skipped(5, "", []))
    assert len(copy.skipped) == 1


def test_rows_are_named_by_file_and_line() -> None:
    document = make_documents(1)[0]
    samples = [Sample(3, (document,), origin="chats.jsonl:12"), Sample(0, (SimpleNamespace(),))]
    assert rows_of(samples) == ["chats.jsonl:12", "row 1 of its split"]
