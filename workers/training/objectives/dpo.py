"""Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290)."""

from functools import partial

from torch.nn.functional import logsigmoid

from luthier.spec import DpoSpec
from workers.training.objectives.pairs import PairLogProbs, Pairs, Scored


def make_dpo(spec: DpoSpec) -> Pairs:
    """The objective of the section."""
    return Pairs(partial(score, beta=spec.beta, smoothing=spec.label_smoothing), with_reference=True)


def score(pairs: PairLogProbs, *, beta: float, smoothing: float) -> Scored:
    """Equation 7: -log sigmoid(margin), where the margin is what beta log(p / p_ref) differs by between the answers.

    With `smoothing` e it is (1 - e) of that and e of the same for the pair the other way round (Mitchell, A note on
    DPO with noisy preferences, 2023, equation 3).
    """
    chosen = beta * (pairs.chosen - pairs.chosen_reference)
    rejected = beta * (pairs.rejected - pairs.rejected_reference)
    margin = chosen - rejected
    losses = -(1 - smoothing) * logsigmoid(margin) - smoothing * logsigmoid(-margin)
    return Scored(losses, chosen, rejected)
