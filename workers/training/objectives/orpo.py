"""Odds ratio preference optimisation (Hong et al., 2024, arXiv:2403.07691)."""

import math
from functools import partial

import torch
from torch.nn.functional import logsigmoid

from luthier.spec import OrpoSpec
from workers.training.objectives.pairs import PairLogProbs, Pairs, Scored


def make_orpo(spec: OrpoSpec) -> Pairs:
    """The objective of the section."""
    return Pairs(partial(score, beta=spec.beta), with_reference=False)


def score(pairs: PairLogProbs, *, beta: float) -> Scored:
    """Equations 6 and 7: the chosen answer's negative log-likelihood per token - beta log sigmoid(log odds ratio).

    The odds are p / (1 - p) with log p per token. The likelihood is the answer's alone, each pair counting the same, as
    in the paper's equation 2; TRL takes the prompt's tokens with it and counts the tokens of a batch the same.
    """
    chosen = pairs.chosen / pairs.chosen_length
    rejected = pairs.rejected / pairs.rejected_length
    log_odds_ratio = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return Scored(-chosen - beta * logsigmoid(log_odds_ratio), beta * chosen, beta * rejected)


def _log1mexp(log_prob: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, by the branch that loses no digits (Mächler, 2012, equation 7).

    An answer that is certain is taken as nearly so: its odds would be infinite, and so would its gradient.
    """
    log_prob = log_prob.clamp(max=-1e-6)
    small = log_prob < -math.log(2)
    # Each branch sees values that it can take, or the gradient of the other would be NaN.
    far = torch.log1p(-torch.exp(torch.where(small, log_prob, -1.0)))
    near = torch.log(-torch.expm1(torch.where(small, -0.5, log_prob)))
    return torch.where(small, far, near)
