"""The mean of the classes' F1 scores, so that a rare class counts as much as a frequent one.

F1 of a class = 2 rows rightly given it / (rows that have it + rows that are given it). The mean is over the classes
that the rows have; one that neither occurs nor is given, in a resample, is left out of it. A row may have several.
"""

from collections.abc import Sequence

import numpy as np

from workers.evaluation.metrics.metric import Array, Metric, Prediction


def count_classes(rows: Sequence[Prediction]) -> Array:
    """Shape [num_rows, 3 x num_classes]: is rightly given the class, has it, is given it; 1 or 0."""
    classes = sorted({label for row in rows for label in row.wanted})
    has = np.array([[label in row.wanted for label in classes] for row in rows], np.bool_)
    given = np.array([[label in row.given for label in classes] for row in rows], np.bool_)
    return np.concatenate([has & given, has, given], axis=1).astype(np.float64)


def macro_f1(sums: Array) -> Array:
    """[..., 3 x num_classes] to [...]."""
    right, has, given = np.split(sums, 3, axis=-1)
    occurs = has + given > 0
    scores = np.divide(2 * right, has + given, out=np.zeros_like(right), where=occurs)
    return np.asarray(scores.sum(-1) / np.maximum(occurs.sum(-1), 1))


MACRO_F1 = Metric(
    label="Macro F1",
    higher_is_better=True,
    needs_answer=False,
    needs_pair=False,
    measure=lambda row: float(row.given == row.wanted),
    weigh=lambda row: 1.0,
    finish=macro_f1,
    count=count_classes,
)
