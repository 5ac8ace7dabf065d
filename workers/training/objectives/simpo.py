"""Simple preference optimisation (Meng et al., 2024, arXiv:2405.14734)."""

from functools import partial

from torch.nn.functional import logsigmoid

from luthier.spec import SimpoSpec
from workers.training.objectives.pairs import PairLogProbs, Pairs, Scored


def make_simpo(spec: SimpoSpec) -> Pairs:
    """The objective of the section."""
    return Pairs(partial(score, beta=spec.beta, gamma=spec.gamma), with_reference=False)


def score(pairs: PairLogProbs, *, beta: float, gamma: float) -> Scored:
    """Equation 6: -log sigmoid(margin - gamma), where the margin is what beta log p per token differs by."""
    chosen = beta * pairs.chosen / pairs.chosen_length
    rejected = beta * pairs.rejected / pairs.rejected_length
    return Scored(-logsigmoid(chosen - rejected - gamma), chosen, rejected)
