"""How many rows get the class that the dataset says."""

from workers.evaluation.metrics.metric import Metric

ACCURACY = Metric(
    label="Accuracy",
    higher_is_better=True,
    needs_answer=False,
    needs_pair=False,
    measure=lambda row: float(row.answer == row.reference),
    weigh=lambda row: 1.0,
    finish=lambda ratio: ratio,
)
