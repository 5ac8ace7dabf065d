"""The metrics of classes are those of scikit-learn, for rows with one class and for rows with any number."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from workers.evaluation.metrics import METRICS, Prediction

ONE = (["a", "a", "b", "b", "c"], ["a", "a", "b", "a", "b"])
SEVERAL = (["a", "ab", "", "bc", "", "abc", "c"], ["a", "a", "", "cb", "c", "ab", ""])
UNKNOWN = (["a", "ax", "x"], ["a", "a", "b"])
"""Given and had, a letter for each class; in the last one a class is given that no row has."""


def predictions(given: list[str], wanted: list[str]) -> list[Prediction]:
    pairs = zip(given, wanted, strict=True)
    return [Prediction("", "", 0.0, 0, given=frozenset(one), wanted=frozenset(other)) for one, other in pairs]


def value(name: str, rows: list[Prediction]) -> float:
    metric = METRICS[name]
    if metric.count is not None:
        return float(metric.finish(metric.count(rows).sum(0)))
    ratio = sum(map(metric.measure, rows)) / sum(map(metric.weigh, rows))
    return float(metric.finish(np.asarray(ratio)))


@pytest.mark.parametrize(("given", "wanted"), [ONE, SEVERAL, UNKNOWN], ids=["one", "several", "unknown"])
def test_they_are_those_of_scikit_learn(given: list[str], wanted: list[str]) -> None:
    rows = predictions(given, wanted)
    table = MultiLabelBinarizer(classes=sorted({*"".join(given), *"".join(wanted)}))
    truth, found = table.fit_transform(wanted), table.transform(given)
    had = np.flatnonzero(truth.sum(0))
    assert value("accuracy", rows) == pytest.approx(accuracy_score(truth, found))
    assert value("micro_f1", rows) == pytest.approx(f1_score(truth, found, average="micro"))
    assert value("macro_f1", rows) == pytest.approx(f1_score(truth, found, average="macro", labels=had))


def test_with_one_class_to_a_row_micro_f1_is_the_accuracy() -> None:
    rows = predictions(*ONE)
    assert value("micro_f1", rows) == value("accuracy", rows) == 0.6


def test_where_no_row_has_a_class_and_none_is_given_f1_is_0_and_all_rows_are_right() -> None:
    rows = predictions(["", ""], ["", ""])
    assert [value(name, rows) for name in ("micro_f1", "macro_f1", "accuracy")] == [0.0, 0.0, 1.0]


def test_a_missed_label_makes_a_row_wrong_and_f1_better_than_nothing() -> None:
    rows = predictions(["a"], ["ab"])
    assert value("accuracy", rows) == 0.0
    assert value("micro_f1", rows) == pytest.approx(2 / 3)
    assert value("macro_f1", rows) == 0.5
