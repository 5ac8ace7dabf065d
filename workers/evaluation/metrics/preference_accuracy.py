"""How often the model prefers the better one of two answers; a tie counts as wrong."""

from workers.evaluation.metrics.metric import Metric

PREFERENCE_ACCURACY = Metric(
    label="Preference accuracy",
    higher_is_better=True,
    needs_answer=False,
    needs_pair=True,
    measure=lambda row: float(row.is_chosen_preferred is True),
    weigh=lambda row: 0.0 if row.is_chosen_preferred is None else 1.0,
    finish=lambda ratio: ratio,
)
