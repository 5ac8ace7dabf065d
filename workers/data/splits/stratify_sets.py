"""Draws units so that a split has its share of every class, where a row may be of several.

Iterative stratification for two sides, the split and the rest (Sechidis, Tsoumakas and Vlahavas, 2011, On the
Stratification of Multi-Label Data): the class with the fewest units that are left comes first, because nothing can make
good for it later. Of them the split gets as many as it still lacks of the class, and the rest gets the others. What is
rounded off is owed to the class that comes next.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

_NONE_LEFT = np.iinfo(np.int64).max


def choose_by_classes(classes: sparse.csr_array, weights: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.bool_]:
    """[units]: which are chosen. Together they weigh at most `size`, and may weigh less.

    Args:
        classes: [units, classes]: rows of each class in each unit; units that are preferred come first.
        weights: [units].
        size: of the split, as a sum of weights.
    """
    by_class = classes.tocsc().sorted_indices()
    chosen, is_open = np.zeros(len(weights), np.bool_), np.ones(len(weights), np.bool_)
    num_open, num_left = np.diff(by_class.indptr), np.zeros(classes.shape[1], np.int64)
    lacking = classes.sum(axis=0) * (size / weights.sum())
    owed = 0.0
    while num_open.any():
        number = int(np.argmin(np.where(num_open > 0, num_open, _NONE_LEFT)))
        column = slice(by_class.indptr[number], by_class.indptr[number + 1])
        units, counts = by_class.indices[column], by_class.data[column]
        units, counts = units[is_open[units]], counts[is_open[units]]
        wanted = lacking[number] + owed
        # At most what fits, and all but one where the rest has none of this class yet.
        num_taken = min(
            int(np.searchsorted(np.cumsum(counts), wanted + 0.5)),
            int(np.searchsorted(np.cumsum(weights[units]), size, side="right")),
            len(units) - int(num_left[number] == 0),
        )
        taken, others = units[:num_taken], units[num_taken:]
        owed = float(np.clip(wanted - counts[:num_taken].sum(), -0.5, 0.5))
        size -= int(weights[taken].sum())
        lacking = lacking - classes[taken].sum(axis=0)
        chosen[taken], is_open[units] = True, False
        num_left += _num_units(classes[others])
        num_open = num_open - _num_units(classes[units])
    return chosen


def leave_each_class(chosen: npt.NDArray[np.bool_], classes: sparse.csr_array) -> npt.NDArray[np.bool_]:
    """[units]: those that are chosen, but for one of each class that would have no unit left; `classes` as above."""
    chosen = chosen.copy()
    num_left = _num_units(classes[~chosen])
    for number in np.flatnonzero((num_left == 0) & (_num_units(classes) > 0)).tolist():
        if not num_left[number]:
            last = np.flatnonzero(chosen & (classes[:, [number]].toarray()[:, 0] > 0))[-1]
            chosen[last] = False
            num_left += _num_units(classes[[last]])
    return chosen


def _num_units(classes: sparse.csr_array) -> npt.NDArray[np.int64]:
    """[classes]: units that have rows of each."""
    return np.bincount(classes.indices, minlength=classes.shape[1])
