"""A row of every class stays in training, wherever the draw put the rows of a rare one.

A head learns the classes of the training rows and no others, so a class that is only validated or tested on can never
be told. Of each such class one unit, rows that must stay together, comes back; a unit that training can spare takes its
place, so that splits keep their sizes where that is possible. Where training lacks no class nothing is moved.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from workers.data.dataset import SPLITS

_TRAIN = SPLITS.index("train")


@dataclass(frozen=True)
class Moved:
    """What came back for the sake of one class."""

    label: int
    """Index of the class."""
    row: int
    """The first one of the unit that has it."""
    split: int
    """What it had been drawn for: index into `SPLITS`."""


@dataclass
class _Units:
    """Rows that must stay together, in the order of their keys. Arrays are of shape (units,)."""

    split: npt.NDArray[np.int8]
    sizes: npt.NDArray[np.int64]
    part: npt.NDArray[np.int32]
    classes: sparse.csr_array
    """[units, classes]: rows of each class."""
    num_left: npt.NDArray[np.int64]
    """[classes]: units in training that have rows of each."""

    def move(self, unit: int, split: int) -> None:
        """Between training and another split."""
        own = self.classes.indices[self.classes.indptr[unit] : self.classes.indptr[unit + 1]]
        self.num_left[own] += 1 if split == _TRAIN else -1
        self.split[unit] = split

    def spare(self, size: int, part: int) -> int | None:
        """The unit of a part that is next to be drawn: of at most that size, and not the last one of any class."""
        is_last = self.classes @ (self.num_left < 2).astype(np.int64) > 0
        fitting = np.flatnonzero((self.split == _TRAIN) & (self.sizes <= size) & (self.part == part) & ~is_last)
        return int(fitting[0]) if len(fitting) else None


def keep_every_class(
    split: npt.NDArray[np.int8],
    keys: npt.NDArray[np.uint64],
    part: npt.NDArray[np.int32],
    classes: sparse.csr_array,
) -> list[Moved]:
    """Changes `split` where training has no row of a class; of several units the smallest comes back, drawn last.

    Args:
        split: [rows], index into `SPLITS`: as drawn, and changed in place.
        keys: [rows], of the units.
        part: [rows], index of the source that a row was drawn for; the same within a unit.
        classes: [rows, classes]: 1 where a row is of a class.

    Returns:
        What came back, in the order of the classes; nothing, where training has them all.
    """
    is_lacking = (_num_with(classes[split == _TRAIN]) == 0) & (_num_with(classes) > 0)
    if not is_lacking.any():
        return []
    units, unit = _units(split, keys, part, classes)
    by_class = units.classes.tocsc()
    may_spare, moved = True, []
    for label in np.flatnonzero(is_lacking).tolist():
        if units.num_left[label]:
            continue
        own = by_class.indices[by_class.indptr[label] : by_class.indptr[label + 1]]
        back = int(own[np.lexsort((-own, units.sizes[own]))[0]])
        drawn = int(units.split[back])
        units.move(back, _TRAIN)
        other = units.spare(int(units.sizes[back]), int(units.part[back])) if may_spare else None
        # Looking through all units for every one of a hundred thousand classes would take hours.
        may_spare = other is not None
        if other is not None:
            units.move(other, drawn)
        has_label = classes[:, [label]].toarray()[:, 0] > 0
        moved.append(Moved(label, int(np.flatnonzero((unit == back) & has_label)[0]), drawn))
    split[:] = units.split[unit]
    return moved


def _units(
    split: npt.NDArray[np.int8], keys: npt.NDArray[np.uint64], part: npt.NDArray[np.int32], classes: sparse.csr_array
) -> tuple[_Units, npt.NDArray[np.int64]]:
    """The units, and [rows] which one each row is of."""
    _, first, unit, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    members = sparse.csr_array((np.ones(len(unit), np.int64), (unit, np.arange(len(unit)))), (len(first), len(unit)))
    of_units = (members @ classes).tocsr()
    num_left = _num_with(of_units[split[first] == _TRAIN])
    return _Units(split[first], sizes, part[first], of_units, num_left), unit


def _num_with(classes: sparse.csr_array) -> npt.NDArray[np.int64]:
    """[classes]: how many rows of a table have each."""
    return np.bincount(classes.indices, minlength=classes.shape[1])
