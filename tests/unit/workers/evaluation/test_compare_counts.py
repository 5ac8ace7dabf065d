"""Statistics of counts: where the metric is a mean, they are those of the ratio; macro F1 is what a person computes."""

import numpy as np
import pytest

from workers.evaluation.compare import compare
from workers.evaluation.compare_counts import compare_counts
from workers.evaluation.metrics import Prediction
from workers.evaluation.metrics.macro_f1 import MACRO_F1, count_classes, macro_f1

SETTINGS = {"num_resamples": 2000, "confidence_level": 0.9, "seed": 3}


def _rows(answers: str, references: str) -> list[Prediction]:
    return [
        Prediction("", "", 0.0, 0, given=frozenset(answer), wanted=frozenset(reference))
        for answer, reference in zip(answers, references, strict=True)
    ]


@pytest.mark.parametrize("num_rows", [8, 60])
def test_a_mean_compares_as_a_ratio_does(num_rows: int) -> None:
    rng = np.random.default_rng(0)
    base, tuned = rng.random(num_rows).round(), (rng.random(num_rows) + 0.2).clip(0, 1).round()
    ones = np.ones(num_rows)
    expected = compare(base, tuned, ones, lambda ratio: ratio, **SETTINGS)
    columns = [np.stack([values, ones], axis=1) for values in (base, tuned)]
    found = compare_counts(*columns, lambda sums: sums[..., 0] / sums[..., 1], **SETTINGS)
    assert found.difference.value == pytest.approx(expected.difference.value)
    assert found.tuned.low == pytest.approx(expected.tuned.low, abs=0.03)
    assert found.difference.high == pytest.approx(expected.difference.high, abs=0.03)
    assert found.p_value == pytest.approx(expected.p_value, abs=1e-9 if num_rows == 8 else 0.03)


def test_macro_f1_is_the_mean_over_the_classes_of_the_rows() -> None:
    rows = _rows("aabbx", "aabab")
    # a: 2 right of 3 that have it and 2 given; b: 1 right of 2 and 2; x occurs in no row.
    assert macro_f1(count_classes(rows).sum(0)) == pytest.approx((2 * 2 / 5 + 2 * 1 / 4) / 2)
    assert macro_f1(count_classes(_rows("ab", "ab")).sum(0)) == 1.0
    assert macro_f1(np.array([0.0, 1.0, 0.0, 2.0, 0.0, 1.0])) == pytest.approx(2 / 3), "a class that is not there"


def test_a_rare_class_counts_in_macro_f1() -> None:
    assert MACRO_F1.count is not None
    references = "a" * 18 + "bb"
    base, tuned = (MACRO_F1.count(_rows(answers, references)) for answers in ("a" * 20, references))
    comparison = compare_counts(base, tuned, MACRO_F1.finish, **SETTINGS)
    assert comparison.base.value == pytest.approx((36 / 38) / 2)
    assert comparison.tuned.value == 1.0
    assert comparison.p_value < 0.6
