"""`data.select.max_per_class` where a row may be of several classes: no class gets more rows than the cap.

A row stays if there is room for it in each of its classes. Rows of rare classes are asked first, so that a frequent
class that they are of as well has room for them. Rows of no class all stay.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse


def within_caps(members: sparse.csr_array, cap: int) -> npt.NDArray[np.bool_]:
    """[rows]: which of them stay.

    Args:
        members: [rows, classes]: 1 where a row is of a class; rows that are preferred come first.
        cap: rows of each class, at most.
    """
    counts = members.sum(axis=0)
    rarest = np.full(members.shape[0], np.iinfo(np.int64).max)
    (has_any,) = np.nonzero(np.diff(members.indptr))
    rarest[has_any] = np.minimum.reduceat(counts[members.indices], members.indptr[has_any]) if len(has_any) else 0
    room = np.full(members.shape[1], cap)
    stays = np.zeros(members.shape[0], np.bool_)
    for row in np.argsort(rarest, kind="stable").tolist():
        classes = members.indices[members.indptr[row] : members.indptr[row + 1]]
        stays[row] = bool((room[classes] > 0).all())
        room[classes] -= stays[row]
    return stays
