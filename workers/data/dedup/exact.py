"""Equal rows, by their fingerprints."""

import numpy as np
import numpy.typing as npt


def owners(
    split: npt.NDArray[np.int8], high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """For each row the one that owns its text, shape (rows,): of those in the latest split the first.

    Args:
        split: index into `SPLITS`; the last one is the latest.
        high, low: the halves of the fingerprints.
    """
    order = np.lexsort((-split, low, high))
    is_same = np.ones(max(0, len(order) - 1), np.bool_)
    for half in (high, low):
        ordered = half[order]
        is_same &= ordered[1:] == ordered[:-1]
        del ordered
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = ~is_same
    owner = np.empty(len(order), np.int64)
    (starts,) = np.nonzero(is_first)
    owner[order] = np.repeat(order[starts], np.diff(starts, append=len(order)))
    return owner
