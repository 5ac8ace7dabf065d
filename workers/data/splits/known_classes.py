"""Classes of a classifier, checked before anything is trained: the job names them, and rows differ in them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.data import problems
from workers.data.dataset import SPLITS
from workers.data.dedup.index import files_of, read_codes
from workers.data.problems import RowError
from workers.data.row import Repair, Row
from workers.data.splits.label_sets import named
from workers.failures import DataError

DOUBLED = "class named twice"


class KnownClasses:
    """A `RowStep`: rows with a label that is none of the classes are invalid. In a set each class counts once."""

    def __init__(self, classes: Sequence[str]) -> None:
        """`classes` may be empty: any label will do."""
        self._classes = frozenset(classes)
        self._expected = ", ".join(classes)

    def __call__(self, rows: Sequence[Row]) -> None:
        """Looks at every label."""
        for row in rows:
            if row.notes.labels is not None:
                _count_once(row, row.notes.labels)
            if self._classes:
                self._check(row)

    def _check(self, row: Row) -> None:
        given = [row.notes.label] if row.notes.labels is None else row.notes.labels
        unknown = [label for label in given if label not in self._classes]
        if unknown:
            detail = f"{unknown[0]!r} is none of {self._expected}; mend it, or name it in objective.labels"
            row.error = RowError(problems.UNKNOWN_LABEL, detail)


def _count_once(row: Row, labels: Sequence[str]) -> None:
    once = sorted(set(labels))
    if len(once) < len(labels):
        doubled = next(label for label, after in pairwise(labels) if label == after)
        row.repairs.append(Repair(DOUBLED, f"{doubled!r} counts once"))
        row.notes = replace(row.notes, labels=once)


def check_classes(rows: Path, split: npt.NDArray[np.int8]) -> None:
    """
    Args:
        rows: the scratch folder of rows with a label, or a set of them.
        split: [rows]: index into `SPLITS`, or -1.

    Raises:
        DataError: all training rows are of one class, or have one set of classes.
    """
    is_train = split == SPLITS.index("train")
    files = files_of(rows)
    found, names = _found(files, "label", is_train)
    if len(found) == 1:
        raise DataError(
            f"every training row has the label {names[found[0]]!r}, so there is nothing to tell apart; "
            "give rows of another class, too"
        )
    found, names = _found(files, "labels", is_train)
    if len(found) == 1:
        raise DataError(
            f"every training row has {named(names[found[0]])}, so there is nothing to tell apart; give rows that a "
            "class applies to and rows that it does not"
        )


def _found(
    files: Sequence[Path], column: str, is_train: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], list[str]]:
    """Which texts of a column training rows have, as indexes, and all texts."""
    codes, names = read_codes(files, column)
    found = np.unique(codes[is_train])
    return found[found >= 0], names
