"""How many rows get the classes that the dataset says: of several, all of them and no others.

The latter is known as subset accuracy.
"""

from workers.evaluation.metrics.metric import Metric

ACCURACY = Metric(
    label="Accuracy",
    higher_is_better=True,
    needs_answer=False,
    needs_pair=False,
    measure=lambda row: float(row.given == row.wanted),
    weigh=lambda row: 1.0,
    finish=lambda ratio: ratio,
)
