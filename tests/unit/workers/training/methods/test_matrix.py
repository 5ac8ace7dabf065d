"""What holds for every method: see rows.py for which there are."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.workers.training.methods.rows import ROWS
from tests.unit.workers.training.methods.trained import (
    STEPS,
    Trained,
    adapt,
    engine_of,
    logits_in_training,
    logits_of,
    plain_model,
    section_of,
    train,
)
from tests.unit.workers.training.tiny_run import KilledError, Killer, Outcome, Recorder, same, weights
from workers.export.merge import merge
from workers.export.peft import write_peft
from workers.models.tuned import ADAPTER, load_tuned
from workers.training.methods import METHODS

ADAPTERS = [name for name, row in ROWS.items() if section_of(row).makes_adapter]
MERGEABLE = [name for name, row in ROWS.items() if section_of(row).is_mergeable]


@pytest.fixture(scope="module")
def trained(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """A function that trains by the row of that name, once."""
    runs: dict[str, Trained] = {}

    def get(name: str) -> Trained:
        if name not in runs:
            runs[name] = train(ROWS[name], base_dir, tmp_path_factory.mktemp(name))
        return runs[name]

    return get


def test_every_method_has_a_row() -> None:
    assert {row.section["type"] for row in ROWS.values()} == METHODS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_the_number_of_trained_parameters_is_the_arithmetic_one(base_dir: Path, name: str) -> None:
    parameters = weights(adapt(ROWS[name], base_dir))
    assert sum(parameter.numel() for parameter in parameters.values()) == ROWS[name].num_trained
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}


@pytest.mark.parametrize("name", ROWS)
def test_frozen_weights_stay_as_they_are_to_the_bit(tmp_path: Path, base_dir: Path, name: str) -> None:
    row = ROWS[name]
    model = adapt(row, base_dir)
    engine = engine_of(row, model, tmp_path, Killer(5, saved=False))
    frozen, learnt = _frozen(model), weights(model)
    with pytest.raises(KilledError):
        engine.run()
    assert same(_frozen(model), frozen)
    assert not any(torch.equal(weight, learnt[part]) for part, weight in weights(model).items())


@pytest.mark.parametrize("name", ROWS)
def test_the_loss_falls(trained: Callable[[str], Trained], name: str) -> None:
    rows = trained(name).outcome.rows
    assert len(rows) == STEPS
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]


@pytest.mark.parametrize("step", [2, 7])  # before the first checkpoint, and between two
@pytest.mark.parametrize("name", ROWS)
def test_killed_and_resumed_it_ends_the_same(
    tmp_path: Path, base_dir: Path, trained: Callable[[str], Trained], name: str, step: int
) -> None:
    row = ROWS[name]
    report = Killer(step, saved=False)
    with pytest.raises(KilledError):
        engine_of(row, adapt(row, base_dir), tmp_path / "first", report).run()
    torch.rand(17)  # a new process would not find the generator where the old one left it
    model = adapt(row, base_dir)
    engine = engine_of(row, model, tmp_path / "second", Recorder(), earlier=report.checkpoints, fence=2)
    assert Outcome.of(engine, model) == trained(name).outcome


@pytest.mark.parametrize("name", ROWS)
def test_products_in_bf16_cost_nearly_the_same(tmp_path: Path, base_dir: Path, name: str) -> None:
    row = ROWS[name]
    losses = []
    for compute in (torch.float32, torch.bfloat16):
        report = Killer(2, saved=False)
        with pytest.raises(KilledError):
            engine_of(row, adapt(row, base_dir, compute), tmp_path / str(compute), report, compute=compute).run()
        losses.append([values["loss"] for _, values in sorted(report.rows.items())])
    # Most differ by less than 1 %; OLoRA, whose start changes the weights most, by 3 to 4.
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("name", ROWS)
def test_what_was_saved_is_what_was_trained(base_dir: Path, trained: Callable[[str], Trained], name: str) -> None:
    run = trained(name)
    allowed = str(ROWS[name].section.get("entry_point", ""))
    loaded = load_tuned(base_dir, run.folder, torch.float32, allowed)
    assert logits_of(loaded) == _near(logits_in_training(run.model), name)


@pytest.mark.parametrize("name", sorted({*ADAPTERS, *MERGEABLE}))
def test_plain_libraries_load_what_was_saved(base_dir: Path, trained: Callable[[str], Trained], name: str) -> None:
    run = trained(name)
    assert logits_of(plain_model(base_dir, run.folder)) == _near(logits_in_training(run.model), name)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_exported_adapter_is_the_trained_one(
    tmp_path: Path, base_dir: Path, trained: Callable[[str], Trained], name: str
) -> None:
    run = trained(name)
    write_peft(run.folder / ADAPTER, tmp_path / ADAPTER, "org/name")
    assert logits_of(plain_model(base_dir, tmp_path)) == _near(logits_in_training(run.model), name)


@pytest.mark.parametrize("name", MERGEABLE)
def test_merged_it_says_the_same(base_dir: Path, trained: Callable[[str], Trained], name: str) -> None:
    run = trained(name)
    merged = merge(load_tuned(base_dir, run.folder, torch.float32))
    assert logits_of(merged) == _near(logits_in_training(run.model), name)
    assert type(merged).__name__ == "LlamaForCausalLM"


def _near(expected: torch.Tensor, name: str) -> object:
    return pytest.approx(expected, abs=ROWS[name].exactness, rel=ROWS[name].exactness)


def _frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named if not tensor.requires_grad}
