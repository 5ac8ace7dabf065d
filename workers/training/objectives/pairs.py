"""Objectives over pairs of answers: everything that DPO, IPO, ORPO and SimPO share, which is all but a formula.

A pair is one sample with two documents, the chosen answer and the rejected one, so it is never divided between two
forward passes, and its loss depends on nothing but itself: how pairs are packed does not change the loss of a step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from workers.failures import DataError
from workers.training.forward import by_document, document_log_probs
from workers.training.objectives.base import Measured, Passes
from workers.training.objectives.reference import Reference
from workers.training.packing import Batch
from workers.training.samples import Sample


@dataclass(frozen=True)
class PairLogProbs:
    """Log-probabilities of P pairs, in nats; every tensor is fp32 [P]."""

    chosen: torch.Tensor
    """Of the chosen answer, summed over its tokens."""
    rejected: torch.Tensor
    """Likewise."""
    chosen_reference: torch.Tensor
    """As the weights that training started from have it; zero for a loss without a reference."""
    rejected_reference: torch.Tensor
    """Likewise."""
    chosen_length: torch.Tensor
    """Tokens of the answer, those that are targets."""
    rejected_length: torch.Tensor
    """Likewise."""


@dataclass(frozen=True)
class Scored:
    """What a formula makes of the pairs; every tensor is fp32 [P]."""

    losses: torch.Tensor
    chosen_rewards: torch.Tensor
    """The implicit reward of the chosen answer, for the figures."""
    rejected_rewards: torch.Tensor
    """Likewise."""


class Pairs:
    """An `Objective` that scores pairs of answers by a formula."""

    def __init__(self, score: Callable[[PairLogProbs], Scored], *, with_reference: bool) -> None:
        """`with_reference`: whether the formula looks at the reference log-probabilities."""
        self._score = score
        self._reference = Reference() if with_reference else None

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`."""
        check_pairs(train, validation)

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Reference log-probabilities, where the formula wants them."""
        if self._reference is not None:
            self._reference.add(model, samples, passes, compute)

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """1; every pair counts the same."""
        return 1.0

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """The losses of the batch's pairs, summed, and what the model thinks of them."""
        log_probs = document_log_probs(model, batch, compute)
        lengths = by_document(torch.ones_like(batch.targets, dtype=log_probs.dtype), batch)
        reference = torch.zeros_like(log_probs) if self._reference is None else self._reference.of(batch)
        scored = self._score(
            PairLogProbs(
                chosen=log_probs[0::2],
                rejected=log_probs[1::2],
                chosen_reference=reference[0::2],
                rejected_reference=reference[1::2],
                chosen_length=lengths[0::2],
                rejected_length=lengths[1::2],
            )
        )
        figures = reward_figures(scored.chosen_rewards, scored.rejected_rewards)
        return Measured(scored.losses.sum(), figures, scored.losses.detach())


def check_pairs(train: Sequence[Sample], validation: Sequence[Sample]) -> None:
    """
    Raises:
        DataError: a row is no pair.
    """
    if not all(len(sample.documents) == 2 for samples in (train, validation) for sample in samples):
        raise DataError(
            "the rows are no pairs of answers, which this objective.type compares; give rows with prompt, chosen and "
            "rejected"
        )


def reward_figures(chosen: torch.Tensor, rejected: torch.Tensor) -> dict[str, torch.Tensor]:
    """Figures of pairs, summed over them; a chosen answer that is no better than the rejected one counts as wrong."""
    return {
        "rewards/chosen": chosen.detach().sum(),
        "rewards/rejected": rejected.detach().sum(),
        "rewards/accuracies": (chosen > rejected).sum(),
        "rewards/margins": (chosen - rejected).detach().sum(),
    }
