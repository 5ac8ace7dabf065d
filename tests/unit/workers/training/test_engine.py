"""The loop: it learns, it hands out its best, it says so when it cannot learn."""

import errno
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from luthier.spec import LoraSpec
from luthier.v1.failure_pb2 import FailureClass
from tests.unit.workers.training.tiny_run import (
    Recorder,
    make_documents,
    make_engine,
    make_model,
    make_store,
    read_weights,
    same,
    weights,
)
from workers.failures import ConfigError, DataError, DivergedError, classify
from workers.training import draft
from workers.training.methods.lora import add_lora
from workers.training.summary import Summary


def test_it_learns_and_reports_every_step(tmp_path: Path) -> None:
    report = Recorder()
    engine, model = make_engine(tmp_path, report, warmup_ratio=0.1)
    before = weights(model)
    summary = engine.run()
    assert list(report.rows) == list(range(1, summary.num_steps + 1))
    assert {"loss", "learning_rate", "grad_norm", "tokens_per_second", "epoch"} <= report.rows[1].keys()
    assert "validation_loss" in report.rows[4]
    assert "validation_loss" not in report.rows[5]
    assert report.rows[summary.num_steps]["epoch"] == 3.0
    assert summary.train_loss < 0.8 * report.rows[1]["loss"]
    assert report.rows[1]["grad_norm"] > 0
    assert report.etas[-1] == 0.0
    assert summary.num_trained_tokens == 3 * sum(len(document.input_ids) for document in make_documents(40))
    assert not same(before, weights(model))
    assert not any(tensor.requires_grad for name, tensor in model.named_parameters() if "lora" not in name)


def test_accumulation_weighs_every_target_alike(tmp_path: Path) -> None:
    def first_row(name: str, **batches: int) -> Mapping[str, float]:
        report = Recorder()
        engine, _ = make_engine(
            tmp_path / name, report, model=make_model(dropout=0.0), packing=False, max_steps=1, **batches
        )
        engine.run()
        return report.rows[1]

    whole = first_row("whole", per_device_train_batch_size=8)
    split = first_row("split", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert split["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert split["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)


def test_best_adapter_is_the_one_that_comes_out(tmp_path: Path) -> None:
    """Validation on noise gets worse while training on runs goes on, so the best is an early one."""
    report = Recorder()
    engine, model = make_engine(tmp_path, report, validation=_noise(), eval_steps=2)
    summary = engine.run()
    losses = {step: row["validation_loss"] for step, row in report.rows.items() if "validation_loss" in row}
    assert summary.best_step == min(losses, key=losses.__getitem__) < summary.num_steps
    best = next(checkpoint for checkpoint in report.checkpoints if checkpoint.step == summary.best_step)
    assert same(weights(model), read_weights(make_store(tmp_path, report), best))


def test_a_lost_best_checkpoint_leaves_the_last_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = Recorder()
    engine, _ = make_engine(tmp_path, report, validation=_noise(), eval_steps=2)
    report.retire = lambda _: _break(report)  # type: ignore[method-assign]
    summary = engine.run()
    assert (summary.best_step, summary.best_validation_loss) == (summary.num_steps, None)
    assert "are lost" in caplog.text


def test_early_stopping(tmp_path: Path) -> None:
    report = Recorder()
    engine, _ = make_engine(tmp_path, report, validation=_noise(1), eval_steps=1, early_stopping_patience=3)
    summary = engine.run()
    assert summary.stopped_early
    assert summary.num_steps == summary.best_step + 3
    assert report.checkpoints[0].step == summary.num_steps


def test_without_validation_rows_the_last_adapter_is_taken(tmp_path: Path) -> None:
    engine, _ = make_engine(tmp_path, Recorder(), validation=[], max_steps=3)
    summary = engine.run()
    assert (summary.best_step, summary.best_validation_loss) == (3, None)


def test_divergence_is_named_with_step_and_remedy(tmp_path: Path) -> None:
    model = make_model()
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    engine, _ = make_engine(tmp_path, Recorder(), model=model)
    with pytest.raises(DivergedError, match=r"step 1: loss nan.*lower training\.learning_rate"):
        engine.run()


@pytest.mark.parametrize("failing", [2, 6])
def test_a_failed_commit_ends_the_run_as_what_it_is(
    tmp_path: Path, failing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a later step, or when the last commit is waited for: never is a run over without its checkpoint."""
    describe_file = draft.describe_file

    def full(path: Path) -> dict[str, Any]:
        if path.parent.name.startswith(f"{failing}.1"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return describe_file(path)

    monkeypatch.setattr(draft, "describe_file", full)
    report = Recorder()
    engine, _ = make_engine(tmp_path, report, max_steps=6, eval_steps=2)
    with pytest.raises(OSError, match="No space left") as caught:
        engine.run()
    assert classify(caught.value).failure_class == FailureClass.FAILURE_CLASS_STORAGE_FULL
    assert [checkpoint.step for checkpoint in report.checkpoints] == list(range(failing - 2, 0, -2))


def _noise(num: int = 6) -> list[Any]:
    rng = np.random.default_rng(2)
    return [
        SimpleNamespace(input_ids=rng.integers(3, 60, 12).astype(np.int32), trainable=np.ones(12, bool))
        for _ in range(num)
    ]


def _break(report: Recorder) -> None:
    for checkpoint in report.checkpoints:
        for path in Path(checkpoint.uri).glob("*.safetensors"):
            path.write_bytes(b"broken")


def _run_with(tmp_path: Path, **arguments: Any) -> Summary:
    return make_engine(tmp_path, Recorder(), **arguments)[0].run()


def test_nothing_trainable_is_refused(tmp_path: Path) -> None:
    model = make_model()
    model.requires_grad_(False)
    with pytest.raises(ConfigError, match="no parameter is trainable"):
        _run_with(tmp_path, model=model)


def test_no_target_token_is_refused(tmp_path: Path) -> None:
    silent = [SimpleNamespace(input_ids=np.arange(3, 9, dtype=np.int32), trainable=np.zeros(6, bool))]
    with pytest.raises(DataError, match="target"):
        _run_with(tmp_path, train=silent)


def test_an_adapter_without_gradient_is_refused(tmp_path: Path) -> None:
    model = make_model(dropout=0.0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.zero_()
    with pytest.raises(ConfigError, match="gradient is zero"):
        _run_with(tmp_path, model=model)


def test_a_step_that_moves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="left every weight as it was"):
        _run_with(tmp_path, learning_rate=1e-300)


def test_patience_needs_validation(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="early_stopping_patience"):
        _run_with(tmp_path, validation=[], early_stopping_patience=2)


def test_a_document_longer_than_a_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pack_length"):
        _run_with(tmp_path, pack_length=8)


def test_unknown_target_modules_name_the_layers_there_are() -> None:
    with pytest.raises(ConfigError, match=r"down_proj, gate_proj.*v_proj"):
        add_lora(make_model("full"), LoraSpec(target_modules=["qproj"]))
