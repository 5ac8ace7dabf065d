"""Identity preference optimisation (Azar et al., 2023, arXiv:2310.12036)."""

from functools import partial

from luthier.spec import IpoSpec
from workers.training.objectives.pairs import PairLogProbs, Pairs, Scored


def make_ipo(spec: IpoSpec) -> Pairs:
    """The objective of the section."""
    return Pairs(partial(score, beta=spec.beta), with_reference=True)


def score(pairs: PairLogProbs, *, beta: float) -> Scored:
    """Equation 17: (h - 1 / (2 tau))^2, where h is what log(p / p_ref) differs by between the answers.

    Per token of each answer, as the paper's authors did it and TRL does: sums would make the margin a matter of length.
    """
    chosen = (pairs.chosen - pairs.chosen_reference) / pairs.chosen_length
    rejected = (pairs.rejected - pairs.rejected_reference) / pairs.rejected_length
    losses = (chosen - rejected - 1 / (2 * beta)).square()
    return Scored(losses, beta * chosen, beta * rejected)
