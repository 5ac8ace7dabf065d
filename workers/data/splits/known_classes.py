"""Classes of a classifier, checked before anything is trained: those that the job names, and that there are two."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.data import problems
from workers.data.dataset import SPLITS
from workers.data.problems import RowError
from workers.data.row import Row
from workers.data.splits.classes import read_classes
from workers.failures import DataError


class KnownClasses:
    """A `RowStep`: rows whose label is none of the classes are invalid."""

    def __init__(self, classes: Sequence[str]) -> None:
        """`classes` may be empty: any label will do."""
        self._classes = frozenset(classes)
        self._expected = ", ".join(classes)

    def __call__(self, rows: Sequence[Row]) -> None:
        """Looks at every label."""
        if not self._classes:
            return
        for row in rows:
            if row.notes.label not in self._classes:
                detail = f"{row.notes.label!r} is none of {self._expected}; mend it, or name it in objective.labels"
                row.error = RowError(problems.UNKNOWN_LABEL, detail)


def check_classes(rows: Path, split: npt.NDArray[np.int8]) -> None:
    """
    Args:
        rows: the scratch folder of rows with a label.
        split: [rows]: index into `SPLITS`, or -1.

    Raises:
        DataError: all training rows are of one class.
    """
    classes = read_classes(rows, len(split))
    found = np.unique(classes.codes[split == SPLITS.index("train")])
    if len(found) == 1:
        raise DataError(
            f"every training row has the label {classes.names[found[0]]!r}, so there is nothing to tell apart; "
            "give rows of another class, too"
        )
