"""Pairs of answers, and single ones with a label, as tokens of the tiny model of `tiny_run`."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from tests.unit.workers.training.tiny_run import make_model
from workers.data.row import DESIRABLE, UNDESIRABLE
from workers.data.tokens.encode import Encoded
from workers.training.objectives import Objective
from workers.training.packing import Batch, batch_of
from workers.training.samples import Sample

VOCABULARY = 64


def answer(prompt: Sequence[int], words: Sequence[int]) -> Encoded:
    """A document whose targets are `words`."""
    ids = np.array([*prompt, *words], np.int32)
    return Encoded(ids, np.arange(len(ids)) >= len(prompt))


def make_pairs(num: int, seed: int = 0, prompt_length: int | None = None, length: int | None = None) -> list[Sample]:
    """Pairs of random answers, of random lengths unless they are given; every other prompt is long enough to share."""
    rng = np.random.default_rng(seed)

    def words(longest: int, fixed: int | None) -> list[int]:
        return rng.integers(3, VOCABULARY, fixed or rng.integers(1, longest)).tolist()

    pairs = []
    for number in range(num):
        prompt = words(20, prompt_length)
        documents = (answer(prompt, words(7, length)), answer(prompt, words(7, length)))
        pairs.append(Sample(number, documents))
    return pairs


def make_labelled(num: int, seed: int = 0) -> list[Sample]:
    """Random answers, every third of them a bad one."""
    labels = [UNDESIRABLE if number % 3 == 2 else DESIRABLE for number in range(num)]
    pairs = make_pairs(num, seed)
    return [Sample(pair.number, pair.documents[:1], label=label) for pair, label in zip(pairs, labels, strict=True)]


def started_and_moved() -> tuple[nn.Module, nn.Module]:
    """The model that training starts from, and one whose weights have been changed since; both without dropout."""
    started = make_model("full").eval()
    moved = copy.deepcopy(started)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in moved.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return started, moved


def one_by_one(samples: Sequence[Sample]) -> Iterator[Batch]:
    """Passes of one sample each."""
    return (batch_of([sample]) for sample in samples)


def mean_loss(
    objective: Objective, model: nn.Module, samples: Sequence[Sample], batches: Sequence[Sequence[Sample]]
) -> torch.Tensor:
    """The loss of a step with `samples`, which fall into `batches`."""
    objective.begin(model, samples, torch.float32)
    sums = [objective.measure(model, batch_of(batch), torch.float32).loss for batch in batches]
    return torch.stack(sums).sum() / len(samples)
