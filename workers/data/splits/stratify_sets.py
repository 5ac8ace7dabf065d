"""Draws units so that a split has its share of every class, where a row may be of several.

Iterative stratification for two sides, the split and the rest (Sechidis, Tsoumakas and Vlahavas, 2011, On the
Stratification of Multi-Label Data): the class with the fewest units that are left comes first, because nothing can make
good for it later. Of them the split gets as many as it still lacks of the class, and the rest gets the others. What is
rounded off is owed to the class that comes next.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

Units = npt.NDArray[np.int64]


def choose_by_classes(
    left: Units, classes: sparse.csr_array, weights: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.bool_]:
    """
    Args:
        left: the units to draw from, those that are preferred first.
        classes: [all units, classes]: rows of each class in each unit.
        weights: [all units].
        size: of the split, as a sum of weights.

    Returns:
        [left]: which are chosen. Together they have at most `size`, and no class has lost its last unit.
    """
    own = classes[left]
    by_class, weights = own.tocsc(), weights[left]
    chosen, is_open = np.zeros(len(left), np.bool_), np.ones(len(left), np.bool_)
    num_open = np.diff(by_class.indptr)
    lacking = own.sum(axis=0) * (size / weights.sum())
    owed = 0.0
    while num_open.any():
        number = int(np.argmin(np.where(num_open > 0, num_open, np.iinfo(np.int64).max)))
        column = slice(by_class.indptr[number], by_class.indptr[number + 1])
        rows, counts = by_class.indices[column], by_class.data[column]
        order = np.argsort(rows)
        rows, counts = rows[order], counts[order]
        rows, counts = rows[is_open[rows]], counts[is_open[rows]]
        wanted = lacking[number] + owed
        num_taken = min(
            int(np.searchsorted(np.cumsum(counts), wanted + 0.5)),
            int(np.searchsorted(np.cumsum(weights[rows]), size, side="right")),
        )
        taken = rows[:num_taken]
        owed = float(np.clip(wanted - counts[:num_taken].sum(), -0.5, 0.5))
        size -= int(weights[taken].sum())
        lacking = lacking - own[taken].sum(axis=0)
        chosen[taken], is_open[rows] = True, False
        num_open = num_open - np.bincount(own[rows].indices, minlength=len(num_open))
    return _with_the_last_of_each_class_left(chosen, own)


def _with_the_last_of_each_class_left(chosen: npt.NDArray[np.bool_], own: sparse.csr_array) -> npt.NDArray[np.bool_]:
    """Gives one unit back of each class that has none left."""
    remaining = own[~chosen].sum(axis=0)
    for number in np.flatnonzero((remaining == 0) & (own.sum(axis=0) > 0)).tolist():
        if not remaining[number]:
            (place,) = np.nonzero(chosen & (own[:, [number]].toarray()[:, 0] > 0))
            chosen[place[-1]] = False
            remaining = remaining + own[[place[-1]]].sum(axis=0)
    return chosen
