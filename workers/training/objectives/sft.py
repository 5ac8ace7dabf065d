"""Supervised fine-tuning: cross-entropy of the targets, each of which counts the same unless the row says otherwise.

Continued pre-training is the same with every token a target, which is up to the data.
The loss of a step is the mean over all of its targets by their weights: sum of w nll / sum of w.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from luthier.spec import PretrainSpec, SftSpec
from workers.failures import DataError
from workers.training.forward import by_document, target_losses
from workers.training.objectives.base import Measured, Passes
from workers.training.packing import Batch
from workers.training.samples import Sample

SummedLoss = Callable[[nn.Module, Batch, torch.dtype], torch.Tensor]
"""Model, batch, dtype of the products -> see `summed_loss`."""


class Sft:
    """An `Objective`; the order of the documents and how they are packed do not matter to it."""

    def __init__(self, _: SftSpec | PretrainSpec, loss: SummedLoss | None = None) -> None:
        """What the sections have to set is done to the data. `loss` is another way to come to `summed_loss`."""
        self._loss = loss

    def check(self, train: Sequence[Sample], _: Sequence[Sample]) -> None:
        """See `Objective`."""
        if not any(sample.num_targets for sample in train):
            raise DataError(
                "no token of the training split is a target; check that the rows have texts or assistant answers"
            )

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Nothing to do."""

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """Its targets, each by its weight."""
        return weight_of_targets(sample)

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """Negative log-likelihood of the batch's targets in nats, summed by their weights."""
        if any(sample.component for sample in batch.samples):
            losses = weighted_losses(model, batch, compute)
            return Measured(losses.sum(), losses=by_document(losses.detach(), batch))
        return Measured((self._loss or summed_loss)(model, batch, compute))


def summed_loss(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """Negative log-likelihood of the batch's targets in nats, summed by their weights, fp32 scalar.

    A sum, not a mean: a step may consist of several batches, and what a target counts does not depend on its batch.
    """
    return weighted_losses(model, batch, compute).sum()


def weighted_losses(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """fp32 [N]: what `summed_loss` sums."""
    losses = target_losses(model, batch, compute)
    weights = target_weights(batch)
    return losses if weights is None else losses * weights


def weight_of_targets(sample: Sample) -> float:
    """What the targets of `sample` count together; the first token of a document is none."""
    if sample.weights is None:
        return sample.num_targets
    starts = np.cumsum([0, *(len(document.input_ids) for document in sample.documents[:-1])])
    return float(sample.weights.sum(dtype=np.float64) - sample.weights[starts].sum(dtype=np.float64))


def target_weights(batch: Batch) -> torch.Tensor | None:
    """fp32 [N]: what each target counts; None: 1 each."""
    if all(sample.weights is None for sample in batch.samples):
        return None
    per_token = np.concatenate([_token_weights(sample) for sample in batch.samples])
    return torch.from_numpy(per_token[batch.origins]).to(batch.targets.device)


def _token_weights(sample: Sample) -> NDArray[np.float32]:
    if sample.weights is not None:
        return sample.weights
    return np.ones(sum(len(document.input_ids) for document in sample.documents), np.float32)
