"""After running out of memory: smaller forward passes, the same optimizer steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.v1.failure_pb2 import FailureClass
from tests.unit.workers.training.tiny_run import Outcome, Recorder, make_documents, make_engine, make_model
from workers.failures import StageError, classify
from workers.training.objectives import sft as module
from workers.training.objectives.sft import summed_loss
from workers.training.packing import Batch

SETTINGS: dict[str, dict[str, Any]] = {
    "rows": {"packing": False, "per_device_train_batch_size": 8},
    "packs": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "one pack": {},
}


class Passes:
    """Counts the tokens of every forward pass; from `limit` documents or more it runs out of memory."""

    def __init__(self, limit: int | None = None, error: BaseException | None = None) -> None:
        self.num_tokens: list[int] = []
        self.num_documents: list[int] = []
        self._limit, self._error = limit, error

    def __call__(self, model: torch.nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
        self.num_tokens.append(batch.prefix_length + sum(batch.lengths))
        self.num_documents.append(len(batch.lengths))
        if self._error is not None and self._limit is not None and len(batch.lengths) >= self._limit:
            raise self._error
        return summed_loss(model, batch, compute)


def first_steps(folder: Path, name: str, refit: int, passes: Passes, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.setattr(module, "summed_loss", passes)
    settings = {"max_steps": 3, "eval_steps": 3} | SETTINGS[name]
    return Outcome.of(
        *make_engine(folder, Recorder(), model=make_model(dropout=0.0), refit=refit, validation=[], **settings)
    )


@pytest.mark.parametrize("refit", [1, 2, 10])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_documents_the_same_loss_the_same_gradient(
    tmp_path: Path, name: str, refit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = Passes(), Passes()
    expected = first_steps(tmp_path / "whole", name, 0, whole, monkeypatch)
    refitted = first_steps(tmp_path / "parts", name, refit, parts, monkeypatch)
    assert refitted.samples == expected.samples
    for row, other in zip(refitted.rows, expected.rows, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
        assert row["learning_rate"] == other["learning_rate"]
    assert sum(parts.num_documents) == sum(whole.num_documents)
    assert max(parts.num_tokens) <= max(max(whole.num_tokens) / 2**refit, 13), "13 is the longest document"
    assert len(parts.num_tokens) > len(whole.num_tokens)


@pytest.mark.parametrize("name", SETTINGS)
def test_without_a_refit_nothing_is_split(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = Passes()
    first_steps(tmp_path, name, 0, passes, monkeypatch)
    assert len(passes.num_tokens) == 3 * SETTINGS[name].get("gradient_accumulation_steps", 1)


def test_validation_is_split_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(refit: int) -> tuple[float, int]:
        passes = Passes()
        monkeypatch.setattr(module, "summed_loss", passes)
        engine, _ = make_engine(
            tmp_path / str(refit), Recorder(), refit=refit, max_steps=1, validation=make_documents(12, seed=9)
        )
        return engine.run().history[-1]["validation_loss"], len(passes.num_tokens)

    (loss, num_passes), (other, more) = run(0), run(2)
    assert other == pytest.approx(loss, rel=1e-2)
    assert more > num_passes


NO_MEMORY: Sequence[BaseException] = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
)


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_out_of_memory_asks_for_smaller_passes_until_there_are_none(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(type(error)) as several:
        first_steps(tmp_path / "several", "rows", 0, Passes(2, error), monkeypatch)
    failure = classify(several.value)
    assert failure.failure_class == FailureClass.FAILURE_CLASS_OUT_OF_MEMORY
    assert "not even" not in failure.message
    with pytest.raises(StageError) as single:
        first_steps(tmp_path / "single", "rows", 10, Passes(1, error), monkeypatch)
    failure = classify(single.value)
    assert failure.failure_class == FailureClass.FAILURE_CLASS_OUT_OF_MEMORY
    assert "not even one row of 13 tokens at a time fits" in failure.message
    assert "lower data.max_length" in failure.message


def test_another_error_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        first_steps(tmp_path, "rows", 10, Passes(1, RuntimeError("shapes cannot be multiplied")), monkeypatch)


def test_what_the_allocator_really_says_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert classify(caught.value).failure_class == FailureClass.FAILURE_CLASS_OUT_OF_MEMORY


@pytest.mark.parametrize("refit", [0, 1, 3])
def test_a_run_goes_on_with_smaller_passes_where_the_larger_ones_failed(tmp_path: Path, refit: int) -> None:
    """The documents of every step stay those of the straight run, across the change."""
    settings: dict[str, Any] = {"max_steps": 6, "eval_steps": 2}
    straight = Outcome.of(*make_engine(tmp_path / "straight", Recorder(), **settings))
    report = Recorder(lambda num_questions: num_questions == 5)
    with pytest.raises(StageError):
        make_engine(tmp_path / "first", report, **settings)[0].run()
    engine, model = make_engine(
        tmp_path / "second", Recorder(), refit=refit, earlier=report.checkpoints, fence=2, **settings
    )
    assert Outcome.of(engine, model).samples == straight.samples
