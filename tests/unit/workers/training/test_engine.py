"""The loop: it learns, it resumes bit-equal, it says so when it cannot learn."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from luthier.artifacts import ArtifactRef
from luthier.spec import MethodSpec, TrainingSpec
from luthier.v1.stage_pb2 import Checkpoint
from workers.failures import ConfigError, DataError, DivergedError, PreemptedError
from workers.training.attention import register
from workers.training.checkpoints import CheckpointStore
from workers.training.engine import Engine, Summary
from workers.training.methods import METHODS

KEY = b"a key of the test"


class Recorder:
    """A report that remembers, and asks to stop after some step."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.rows: dict[int, Mapping[str, float]] = {}
        self.checkpoints: list[Checkpoint] = []
        self.etas: list[float | None] = []
        self._stop_after = stop_after

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        self.etas.append(eta_seconds)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.rows[step] = values

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        self.checkpoints.insert(0, Checkpoint(uri=ref.uri, digest=ref.digest, step=step))

    def should_stop(self) -> bool:
        return self._stop_after is not None and len(self.rows) >= self._stop_after


def make_documents(num: int, seed: int = 0) -> list[SimpleNamespace]:
    """Ascending runs: the next token is the last one plus one, which a tiny model learns at once."""
    rng = np.random.default_rng(seed)
    documents = []
    for start, length in zip(rng.integers(3, 30, num), rng.integers(5, 14, num), strict=True):
        ids = np.arange(start, start + length, dtype=np.int32)
        documents.append(SimpleNamespace(input_ids=ids, trainable=np.arange(length) >= 2))
    return documents


def make_model(dropout: float = 0.1) -> PeftModel:
    set_seed(3)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        attn_implementation=register(),
    )
    return METHODS["lora"](LlamaForCausalLM(config), MethodSpec(r=4, lora_dropout=dropout))


def make_engine(
    folder: Path,
    report: Recorder,
    *,
    model: PeftModel | None = None,
    earlier: list[Checkpoint] | None = None,
    fence: int = 1,
    train: list[Any] | None = None,
    validation: list[Any] | None = None,
    **overrides: Any,
) -> tuple[Engine, PeftModel]:
    settings = {"learning_rate": 0.02, "num_train_epochs": 3.0, "pack_length": 48, "eval_steps": 4, "seed": 5}
    model = model or make_model()
    engine = Engine(
        model,
        make_documents(40) if train is None else train,
        make_documents(6, seed=9) if validation is None else validation,
        TrainingSpec.model_validate(settings | overrides),
        compute=torch.float32,
        report=report,
        checkpoints=CheckpointStore(
            str(folder / "checkpoints"), fence, folder / "scratch", keep=2, key=KEY, earlier=earlier or ()
        ),
    )
    return engine, model


def adapter(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_and_reports_every_step(tmp_path: Path) -> None:
    report = Recorder()
    engine, model = make_engine(tmp_path, report, warmup_ratio=0.1)
    before = adapter(model)
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
    assert not same(before, adapter(model))
    assert not any(tensor.requires_grad for name, tensor in model.named_parameters() if "lora" not in name)


@pytest.mark.parametrize("stop_after", [3, 4, 11])
def test_resumed_run_is_bit_equal_to_the_straight_one(tmp_path: Path, stop_after: int) -> None:
    straight, straight_model = make_engine(tmp_path / "straight", Recorder())
    expected = straight.run()

    interrupted = Recorder(stop_after)
    engine, _ = make_engine(tmp_path / "first", interrupted)
    with pytest.raises(PreemptedError, match=f"step {stop_after} "):
        engine.run()
    torch.rand(17)  # a new process would not have the generator where the old one left it
    report = Recorder()
    resumed, resumed_model = make_engine(tmp_path / "second", report, earlier=interrupted.checkpoints, fence=2)
    summary = resumed.run()

    assert summary.resumed_from_step == stop_after
    assert min(report.rows) == stop_after + 1
    assert same(adapter(resumed_model), adapter(straight_model))
    assert (summary.best_step, summary.best_validation_loss) == (expected.best_step, expected.best_validation_loss)
    assert [row["loss"] for row in summary.history] == [row["loss"] for row in expected.history]


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
    rng = np.random.default_rng(2)
    noise = [
        SimpleNamespace(input_ids=rng.integers(3, 60, 12).astype(np.int32), trainable=np.ones(12, bool))
        for _ in range(6)
    ]
    report = Recorder()
    engine, model = make_engine(tmp_path, report, validation=noise, eval_steps=2)
    summary = engine.run()
    losses = {step: row["validation_loss"] for step, row in report.rows.items() if "validation_loss" in row}
    assert summary.best_step == min(losses, key=losses.__getitem__) < summary.num_steps
    best = next(checkpoint for checkpoint in report.checkpoints if checkpoint.step == summary.best_step)
    store = CheckpointStore("", 1, tmp_path / "again", keep=2, key=KEY)
    assert same(adapter(model), store.load(best.uri, best.digest).adapter)


def test_early_stopping(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    noise = [SimpleNamespace(input_ids=rng.integers(3, 60, 12).astype(np.int32), trainable=np.ones(12, bool))]
    report = Recorder()
    engine, _ = make_engine(tmp_path, report, validation=noise, eval_steps=1, early_stopping_patience=3)
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
    base = make_model().unload()
    with pytest.raises(ConfigError, match=r"down_proj, gate_proj.*v_proj"):
        METHODS["lora"](base, MethodSpec(target_modules=["qproj"]))
