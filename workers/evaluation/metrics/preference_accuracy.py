"""Whether the model finds the better one of two answers likelier than the worse one, token for token.

Per token, because sums would favour the shorter answer whatever it says (Meng et al., 2024, arXiv:2405.14734, section
2.1). A tie counts as wrong. The same is asked of base and tuned model, so the difference is what training did.
"""

from workers.evaluation.metrics.metric import Metric, Prediction


def prefers_chosen(row: Prediction) -> float:
    """1.0 when the chosen answer is likelier per token, else 0.0; 0.0 also for a row that is no pair."""
    if not row.num_rejected_tokens:
        return 0.0
    return float(row.nll_sum / row.num_tokens < row.rejected_nll_sum / row.num_rejected_tokens)


PREFERENCE_ACCURACY = Metric(
    label="Preference accuracy",
    higher_is_better=True,
    needs_answer=False,
    needs_pair=True,
    measure=prefers_chosen,
    weigh=lambda row: 1.0 if row.num_rejected_tokens else 0.0,
    finish=lambda ratio: ratio,
)
