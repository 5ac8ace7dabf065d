"""`data.balance`: which rows of large classes go, or how often rows of small classes come again.

Only counts are decided here; the copies themselves are written by `workers.data.augment`. Sizes are exact and the draws
seeded, so no row of a class comes twice more often than another, unlike with draws with replacement.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from workers.data import problems
from workers.data.dedup import Decisions
from workers.data.select.selection import Selection
from workers.data.splits.classes import read_classes
from workers.failures import DataError

_ROUNDING = 1e-9
"""0.1 x 30 is 3 rows, and not the 4 that binary fractions make of it."""


def balance(
    rows: Path, decisions: Decisions, part_of_file: Sequence[int], spec: DataSpec
) -> tuple[Decisions, npt.NDArray[np.int32]]:
    """The decisions without the rows that are left out, and [rows] how many times each comes again.

    Raises:
        DataError: no training row has a label.
        ConfigError: there are too many rows for `method: smote`.
    """
    copies = np.zeros(len(decisions.split), np.int32)
    wanted = spec.balance
    if wanted is None:
        return decisions, copies
    selection = Selection.of(rows, decisions, part_of_file)
    candidates = selection.candidates()
    codes = read_classes(rows, len(copies)).codes[candidates]
    by_class = [candidates[codes == code] for code in np.unique(codes[codes >= 0])]
    if not by_class:
        raise DataError("data.balance: no training row has a label; leave it out, or give rows with a label")
    if wanted.method == "undersample":
        most = math.floor(min(map(len, by_class)) / wanted.ratio + _ROUNDING)
        for own in by_class:
            selection.drop(own[most:], problems.UNDERSAMPLED)
        return selection.applied(decisions), copies
    fewest = math.ceil(wanted.ratio * max(map(len, by_class)) - _ROUNDING)
    small = [own for own in by_class if len(own) < fewest]
    if wanted.method == "oversample":
        for own in small:
            copies[own] = evenly(len(own), fewest - len(own))
    elif small:
        from workers.data.select.smote import smote_copies  # here: scikit-learn is slow to import

        counts = smote_copies(rows, small, max(by_class, key=len), fewest, wanted, spec.seed)
        for own, own_counts in zip(small, counts, strict=True):
            copies[own] = own_counts
    return decisions, copies


def evenly(num_rows: int, total: int) -> npt.NDArray[np.int32]:
    """[rows]: `total` copies among the rows, the first ones getting those that do not divide."""
    counts = np.full(num_rows, total // num_rows, np.int32)
    counts[: total % num_rows] += 1
    return counts
