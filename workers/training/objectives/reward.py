"""Reward model: the better one of two answers gets the higher score (Bradley and Terry, 1952)."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from luthier.spec import RewardSpec
from workers.training.classes import Classes
from workers.training.heads import document_scores
from workers.training.objectives.base import Measured, Passes
from workers.training.objectives.pairs import check_pairs, reward_figures
from workers.training.packing import Batch
from workers.training.samples import Sample

CLASSES = Classes(("reward",))
"""What the head's only score is called."""


class Reward:
    """An `Objective` over pairs of answers. The model has a head with one score."""

    def __init__(self, spec: RewardSpec) -> None:
        self._spec = spec

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`."""
        check_pairs(train, validation)

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Nothing to do."""

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """1; every pair counts the same."""
        return 1.0

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """-log sigmoid(chosen - rejected), summed over the pairs (Ouyang et al., 2022, arXiv:2203.02155, equation 1).

        With a coefficient c there is c (chosen + rejected)^2 besides.
        """
        scores = document_scores(model, batch, compute)[:, 0]
        chosen, rejected = scores[0::2], scores[1::2]
        losses = -logsigmoid(chosen - rejected)
        losses = losses + self._spec.center_rewards_coefficient * (chosen + rejected).square()
        return Measured(losses.sum(), reward_figures(chosen, rejected), losses.detach())
