"""What a metric is: a number per row and a way to sum rows up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What one model did with one row."""

    answer: str
    """Generated greedily, without special tokens; empty for rows that have no prompt."""
    reference: str
    """What the dataset says; empty likewise."""
    nll_sum: float
    """Negative log-likelihood of the row's trainable tokens, summed, in nats."""
    num_tokens: int
    """Number of those tokens."""
    is_chosen_preferred: bool | None = None
    """Whether the better one of the row's two answers is the one that the model prefers; None: it is no pair."""
    given: frozenset[str] = frozenset()
    """The classes that the model gives the row: one, or where a row has several labels any number."""
    wanted: frozenset[str] = frozenset()
    """Those that the dataset says."""


@dataclass(frozen=True)
class Metric:
    """`finish(sum(measure) / sum(weigh))` over rows: a transformed ratio of sums, unless `count` is set."""

    label: str
    """For people, with the unit."""
    higher_is_better: bool
    needs_answer: bool
    """Whether it looks at generated text; rows of the `text` format have none."""
    needs_pair: bool
    """Whether it compares the two answers of a row."""
    measure: Callable[[Prediction], float]
    """The row's share of the numerator."""
    weigh: Callable[[Prediction], float]
    """The row's share of the denominator; does not depend on the model."""
    finish: Callable[[Array], Array]
    """From ratios to values of the metric, elementwise."""
    count: Callable[[Sequence[Prediction]], Array] | None = None
    """Of a metric that is no such ratio: what is summed instead, [num_rows, num_counts], and then `finish` takes sums
    [..., num_counts] to values [...]."""


def mean_of(label: str, score: Callable[[str, str], float]) -> Metric:
    """The mean over rows with a reference of `score(answer, reference)`, which lies between 0 and 1."""
    return Metric(
        label=label,
        higher_is_better=True,
        needs_answer=True,
        needs_pair=False,
        measure=lambda row: score(row.answer, row.reference),
        weigh=lambda row: float(bool(row.reference)),
        finish=lambda ratio: ratio,
    )
