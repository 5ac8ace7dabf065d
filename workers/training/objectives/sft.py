"""Supervised fine-tuning: cross-entropy of the targets, each of which counts the same."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from luthier.spec import SftSpec
from workers.failures import DataError
from workers.training.forward import target_logits
from workers.training.objectives.base import Measured, Passes
from workers.training.packing import Batch
from workers.training.samples import Sample


class Sft:
    """An `Objective`; the order of the documents and how they are packed do not matter to it."""

    def __init__(self, _: SftSpec) -> None:
        """The section has nothing to set."""

    def check(self, train: Sequence[Sample], _: Sequence[Sample]) -> None:
        """See `Objective`."""
        if not any(sample.num_targets for sample in train):
            raise DataError(
                "no token of the training split is a target; check that the rows have an assistant's answer"
            )

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """Its targets."""
        return sample.num_targets

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """Negative log-likelihood of the batch's targets in nats, summed."""
        return Measured(summed_loss(model, batch, compute))


def summed_loss(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """Negative log-likelihood of the batch's targets in nats, summed, fp32 scalar.

    A sum, not a mean: a step may consist of several batches, and every target of the step counts the same.
    """
    return functional.cross_entropy(target_logits(model, batch, compute), batch.targets, reduction="sum")
