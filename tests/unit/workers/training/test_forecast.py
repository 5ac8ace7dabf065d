"""Every finished run says what its plan had said."""

import json
from pathlib import Path

import pytest
import torch

from luthier.spec import JobSpec
from tests.unit.workers.training.tiny_run import as_samples, make_documents
from workers.training import forecast as module
from workers.training.forecast import Forecast, compared, figures_of, forecast, peak_memory_bytes
from workers.training.summary import Summary

CPU = torch.device("cpu")
SAMPLES = as_samples(make_documents(40))


def _spec(**changes: object) -> JobSpec:
    return JobSpec.model_validate({"name": "x", "base_model": "x", "data": {"path": "/x"}} | changes)


def _summary() -> Summary:
    return Summary(
        num_steps=3, best_step=3, best_validation_loss=None, train_loss=1.0, num_trainable_parameters=8,
        num_trained_tokens=600, tokens_per_second=20.0, resumed_from_step=None, stopped_early=False, skipped=[],
        history=[], samples=[],
    )  # fmt: skip


def test_the_plan_of_a_run_knows_the_documents(tiny_model_dir: Path) -> None:
    figures = figures_of(SAMPLES)
    assert figures.num_rows == 40
    assert figures.num_tokens == sum(len(sample.documents[0].input_ids) for sample in SAMPLES)
    assert figures.longest == max(sample.longest for sample in SAMPLES)
    planned = forecast(_spec(), tiny_model_dir, SAMPLES, torch.float32, CPU)
    assert planned.peak_memory_bytes > 100 << 20
    assert planned.tokens_per_second > 0
    assert not planned.reason


def test_predicted_and_actual_stand_side_by_side() -> None:
    document = compared(Forecast(1 << 30, 50.0), _summary(), CPU)
    assert document["peak_memory_bytes"] == {"predicted": 1 << 30, "actual": peak_memory_bytes(CPU)}
    assert document["training_seconds"] == {"predicted": 12.0, "actual": 30.0}
    assert json.dumps(document)


def test_without_arithmetic_the_reason_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    planned = forecast(_spec(), tmp_path, SAMPLES, torch.float32, CPU)
    document = compared(planned, _summary(), CPU)
    assert document["peak_memory_bytes"]["predicted"] is None
    assert document["training_seconds"]["predicted"] is None
    assert "mamba" in document["not_predicted"]


def test_a_run_that_will_not_fit_is_warned_of(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    small = module.probe_cpu().model_copy(update={"memory_gib": 0.25})
    monkeypatch.setattr(module, "probe_cpu", lambda: small)
    forecast(_spec(), tiny_model_dir, SAMPLES, torch.float32, CPU)
    assert "run out of memory" in caplog.text
