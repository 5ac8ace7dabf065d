"""The border between the loop and what it minimises."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from workers.training.packing import Batch
from workers.training.samples import Sample

Passes = Callable[[Sequence[Sample]], Iterator[Batch]]
"""Samples in batches, on the model's device, for forward passes in which nothing is learned."""


@dataclass(frozen=True)
class Measured:
    """What a forward pass says of its batch."""

    loss: torch.Tensor
    """fp32 scalar with a gradient: the loss of every sample times its weight, summed."""
    figures: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Further figures, such as an accuracy, summed in the same way: scalars, which the loop reads once for many."""
    losses: torch.Tensor | None = None
    """fp32 [samples of the batch], without a gradient: what `loss` sums, by sample; None: not told."""


class Objective(Protocol):
    """What a sample is, what it weighs, and how wrong the model is about it."""

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """Before anything is computed.

        Raises:
            DataError: there is nothing to learn from.
        """
        ...

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Once per attempt and split, with the weights that training starts from, not those of a checkpoint."""
        ...

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Before the forward passes over `samples`: all of an optimizer step, on all ranks, or all of a validation."""
        ...

    def weigh(self, sample: Sample) -> float:
        """What the sample counts in the mean over a step: its targets, or 1. With 0 it is left out of validation."""
        ...

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """One forward pass.

        Args:
            model: what the method made of the base model, on its device.
            batch: on the same device.
            compute: dtype of the matrix products.
        """
        ...
