"""However the samples of a step fall into passes, its loss and its gradient are the same: for every objective."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from luthier.spec import ObjectiveSpec
from tests.unit.workers.training.objectives.preference_rows import make_labelled, make_pairs, one_by_one
from tests.unit.workers.training.tiny_run import as_samples, make_documents, make_model
from workers.training.heads import put_head
from workers.training.objectives import OBJECTIVES
from workers.training.packing import batch_of
from workers.training.samples import Sample

NUM = 9
PARTITIONS: dict[str, Sequence[int]] = {"uneven": (1, 5, 3), "one by one": (1,) * NUM}


def make_answers() -> list[Sample]:
    """From 3 to 11 targets each."""
    return as_samples(make_documents(NUM))


def make_classes() -> list[Sample]:
    return [Sample(one.number, one.documents, label="abc"[one.number % 3]) for one in make_answers()]


# What an objective learns from, where it is not pairs.
ROWS: dict[str, Callable[[], list[Sample]]] = {
    "sft": make_answers,
    "pretrain": make_answers,
    "classification": make_classes,
    "kto": partial(make_labelled, NUM),
}
# Scores of the head that it needs.
HEADS = {"classification": 3, "reward": 1}


def loss_and_gradient(name: str, sizes: Sequence[int]) -> tuple[float, torch.Tensor]:
    """Of a step with passes of so many samples."""
    samples = ROWS.get(name, partial(make_pairs, NUM))()
    objective = OBJECTIVES[name](TypeAdapter(ObjectiveSpec).validate_python({"type": name}))
    started: nn.Module = make_model("full")
    if name in HEADS:
        torch.manual_seed(0)
        put_head(started, HEADS[name])  # type: ignore[arg-type]
    objective.check(samples, [])
    objective.prepare(started, samples, one_by_one, torch.float32)
    model = _moved(started)
    objective.begin(model, samples, torch.float32)
    total, loss, first = sum(map(objective.weigh, samples)), 0.0, 0
    for size in sizes:
        part = objective.measure(model, batch_of(samples[first : first + size]), torch.float32).loss / total
        part.backward()  # type: ignore[no-untyped-call]
        loss, first = loss + part.item(), first + size
    assert first == NUM
    return loss, torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None])


@pytest.mark.parametrize("partition", PARTITIONS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_is_the_same_however_it_is_divided(name: str, partition: str) -> None:
    loss, gradient = loss_and_gradient(name, (NUM,))
    other, parts = loss_and_gradient(name, PARTITIONS[partition])
    assert other == pytest.approx(loss, rel=1e-5)
    assert gradient.norm() > 1e-3
    assert (parts - gradient).norm() < 1e-4 * gradient.norm()


def _moved(started: nn.Module) -> nn.Module:
    """Away from the start, where a loss against a reference is a constant."""
    model = copy.deepcopy(started)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return model
