"""F1 over all pairs of row and class, so that a class counts by how often it occurs.

2 classes rightly given / (classes that the rows have + classes given), each summed over the rows; 0 where no row has
one and none is given.
"""

from collections.abc import Sequence

import numpy as np

from workers.evaluation.metrics.metric import Array, Metric, Prediction


def count_pairs(rows: Sequence[Prediction]) -> Array:
    """Shape [num_rows, 3]: number of classes rightly given, had, given."""
    return np.array([[len(row.given & row.wanted), len(row.wanted), len(row.given)] for row in rows], np.float64)


def micro_f1(sums: Array) -> Array:
    """[..., 3] to [...]."""
    right, has, given = np.moveaxis(sums, -1, 0)
    return np.asarray(np.divide(2 * right, has + given, out=np.zeros_like(right), where=has + given > 0))


MICRO_F1 = Metric(
    label="Micro F1",
    higher_is_better=True,
    needs_answer=False,
    needs_pair=False,
    measure=lambda row: float(row.given == row.wanted),
    weigh=lambda row: 1.0,
    finish=micro_f1,
    count=count_pairs,
)
