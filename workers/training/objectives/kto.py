"""Kahneman-Tversky optimisation (Ethayarajh et al., 2024, arXiv:2402.01306).

Beside the rows it looks at mismatched ones: the prompt of each row with the answer of the row before it. They say how
far the model has moved from the reference on text that it was not taught (the paper's z0). They are read without a
gradient and without dropout, once for a whole optimizer step. So the loss depends neither on how rows are packed, nor
on how often a forward pass was halved for memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from luthier.spec import KtoSpec
from workers.data.row import DESIRABLE, UNDESIRABLE
from workers.failures import DataError
from workers.training.forward import document_log_probs
from workers.training.guards import fits_into_memory
from workers.training.objectives.base import Measured, Passes
from workers.training.objectives.reference import Reference
from workers.training.packing import Batch
from workers.training.samples import Document, Sample
from workers.training.sums import Sums


@dataclass(frozen=True)
class _Mismatched:
    """A document that no row has."""

    input_ids: NDArray[np.int32]
    trainable: NDArray[np.bool_]


@dataclass(frozen=True)
class _Step:
    """What the rows of an optimizer step have in common."""

    divergence: float
    """z0, in nats, 0 or more."""
    num_desirable: int
    num_rows: int


class Kto:
    """An `Objective` over answers with a label."""

    def __init__(self, spec: KtoSpec) -> None:
        self._spec = spec
        self._reference = Reference()
        self._mismatched: dict[Sample, Sample] = {}
        self._passes: Passes
        self._step: _Step

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`."""
        if not all(sample.label in (DESIRABLE, UNDESIRABLE) for samples in (train, validation) for sample in samples):
            raise DataError(
                "the rows do not say whether their answer is a good one, which objective.type kto learns from; give "
                "rows with prompt, completion and label"
            )
        if len(train) == 1:
            raise DataError("objective.type kto compares each row with another one, and there is one training row")

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Reference log-probabilities of the rows and of the mismatched ones."""
        longest = max((sample.longest for sample in samples), default=0)
        pairs = zip(samples, [*samples[-1:], *samples[:-1]], strict=True)
        mismatched = {sample: Sample(sample.number, (_mismatch(sample, other, longest),)) for sample, other in pairs}
        self._mismatched |= mismatched
        self._passes = passes
        for rows in (samples, list(mismatched.values())):
            self._reference.add(model, rows, passes, compute)

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """How far the model has moved, by the mismatched rows of the step."""
        was_training = model.training
        model.eval()
        moved = Sums()
        for batch in self._passes([self._mismatched[sample] for sample in samples]):
            with torch.no_grad(), fits_into_memory(batch):
                log_probs = document_log_probs(model, batch, compute)
                moved.add({"moved": (log_probs - self._reference.of(batch)).sum()})
        model.train(was_training)
        num_desirable = sum(sample.label == DESIRABLE for sample in samples)
        self._step = _Step(max(moved.read()["moved"] / len(samples), 0.0), num_desirable, len(samples))

    def weigh(self, sample: Sample) -> float:
        """1; the weights of the section are factors of the loss."""
        return 1.0

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """Equation 8: w (1 - sigmoid(+-beta (log(p / p_ref) - z0))), summed over the rows; + for a good answer."""
        spec, step = self._spec, self._step
        log_ratios = document_log_probs(model, batch, compute) - self._reference.of(batch)
        desirable = torch.tensor([sample.label == DESIRABLE for sample in batch.samples], device=log_ratios.device)
        sign = torch.where(desirable, 1.0, -1.0)
        weight = torch.where(desirable, spec.desirable_weight, spec.undesirable_weight)
        losses = weight * (1 - torch.sigmoid(sign * spec.beta * (log_ratios - step.divergence)))
        return Measured(losses.sum(), self._figures(spec.beta * log_ratios.detach(), desirable), losses.detach())

    def _figures(self, rewards: torch.Tensor, desirable: torch.Tensor) -> dict[str, torch.Tensor]:
        """Of the batch; each is a mean over the rows of its kind once those of the step are summed and divided."""
        step = self._step
        chosen, rejected = (
            torch.where(of_kind, rewards, 0.0).sum().double() * step.num_rows / max(num, 1)
            for of_kind, num in ((desirable, step.num_desirable), (~desirable, step.num_rows - step.num_desirable))
        )
        return {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "kl": torch.full_like(chosen, step.divergence * len(rewards)),
        }


def _mismatch(prompt: Sample, answer: Sample, longest: int) -> Document:
    """The prompt of one row with the answer of another, cut after `longest` tokens."""
    (asked,), (said,) = prompt.documents, answer.documents
    start, other = int(asked.trainable.argmax()), int(said.trainable.argmax())
    ids = np.concatenate([asked.input_ids[:start], said.input_ids[other:]])[:longest]
    trainable = np.concatenate([np.zeros(start, np.bool_), said.trainable[other:]])[:longest]
    return _Mismatched(ids, trainable)
