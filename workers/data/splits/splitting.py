"""Which rows go to validation and test: drawn by the seed, in the mix of their strata, or the latest ones.

What is drawn are units: rows that must stay together. Units with the lowest keys go to test, those with the next ones
to validation; keys are seeded hashes of the rows' texts. So the split does not depend on the order of the rows, and
rows that are added later move few others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from workers.data.dataset import SPLITS, SplitName
from workers.data.splits.stratify_sets import choose_by_classes, leave_each_class
from workers.failures import DataError

_TRAIN = SPLITS.index("train")


@dataclass(frozen=True)
class Drawable:
    """The rows of one source that are to be split. Each array is of shape (rows,)."""

    keys: npt.NDArray[np.uint64]
    """Of the units: the lowest fingerprint in each."""
    texts: npt.NDArray[np.uint64] | None = None
    """Fingerprints of the texts. None: all are different."""
    strata: npt.NDArray[np.int32] | None = None
    """Every split gets the same mix of these. None: whatever it comes to."""
    times: npt.NDArray[np.float64] | None = None
    """The latest rows go to test. None: they are drawn by their keys."""
    classes: sparse.csr_array | None = None
    """[rows, classes]: 1 where a row is of a class. As `strata`, where a row may have several."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Drawable":
        """Some of the rows."""
        return Drawable(
            keys=self.keys[rows],
            texts=None if self.texts is None else self.texts[rows],
            strata=None if self.strata is None else self.strata[rows],
            classes=None if self.classes is None else self.classes[rows],
            times=None if self.times is None else self.times[rows],
        )


@dataclass(frozen=True)
class _Units:
    """Each array is of shape (units,)."""

    keys: npt.NDArray[np.uint64]
    """In order."""
    weights: npt.NDArray[np.int64]
    """Different texts in each."""
    strata: npt.NDArray[np.int32] | None
    classes: sparse.csr_array | None
    """[units, classes]: rows of each class."""
    order: npt.NDArray[np.int64] | None
    """In which they are drawn, none passed over; None: that of the keys."""

    def left(self, side: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
        """Those that are in training still, in the order in which they are drawn."""
        if self.order is None:
            return np.flatnonzero(side == _TRAIN)
        left: npt.NDArray[np.int64] = self.order[side[self.order] == _TRAIN]
        return left


def draw(rows: Drawable, fractions: Mapping[SplitName, float]) -> npt.NDArray[np.int8]:
    """The split of each row, an index into `SPLITS`.

    A split has as many different texts as its fraction says, or fewer where units do not fit. From three units on none
    that was asked for is empty, and training never is.

    Raises:
        DataError: the strata are as many as the units.
    """
    units = _units(rows)
    side = np.full(len(units.keys), _TRAIN, np.int8)
    wanted = [name for name, fraction in fractions.items() if fraction > 0]
    for number, name in enumerate(wanted, start=1):
        left = units.left(side)
        # One unit stays for training, and then one for the split that comes next.
        spare = len(left) - 1
        spare -= min(len(wanted) - number, max(0, spare - 1))
        size = max(1, round(fractions[name] * int(units.weights.sum())))
        side[_choose(left, units, size, spare)] = SPLITS.index(name)
    return side[np.searchsorted(units.keys, rows.keys)]


def uneven_splits(fractions: Mapping[SplitName, float], num_rows: Mapping[SplitName, int]) -> list[str]:
    """What to tell of splits that have less than half or more than twice the rows that were asked for."""
    total = max(1, sum(num_rows.values()))
    shares = {name: (num_rows[name] / total, fraction) for name, fraction in fractions.items() if num_rows[name]}
    return [
        f"the {name} split has {share:.0%} of the rows, not {fraction:.0%}: data.split does not cut "
        "what belongs together"
        for name, (share, fraction) in shares.items()
        if fraction and not fraction / 2 <= share <= 2 * fraction
    ]


def _units(rows: Drawable) -> _Units:
    of_texts = rows.keys if rows.texts is None else rows.keys[np.unique(rows.texts, return_index=True)[1]]
    of_texts = np.sort(of_texts)
    (starts,) = np.nonzero(np.append(True, of_texts[1:] != of_texts[:-1])[: len(of_texts)])
    keys, weights = of_texts[starts], np.diff(starts, append=len(of_texts))
    strata = classes = order = None
    if rows.strata is not None and len(keys):
        strata = _most_common(np.searchsorted(keys, rows.keys), rows.strata, len(keys))
        if len(keys) > 1 and len(np.unique(strata)) == len(keys):
            raise DataError(
                "data.split.stratify_by has another value in every row, so no split can have the mix of the others; "
                "name a column of few values"
            )
    if rows.classes is not None and len(keys):
        classes = _summed(np.searchsorted(keys, rows.keys), rows.classes, len(keys))
    if rows.times is not None:
        latest = np.full(len(keys), -np.inf)
        np.maximum.at(latest, np.searchsorted(keys, rows.keys), rows.times)
        order = np.lexsort((keys, -latest))
    return _Units(keys, weights, strata, classes, order)


def _summed(units: npt.NDArray[np.int64], classes: sparse.csr_array, num_units: int) -> sparse.csr_array:
    """[units, classes]: how many rows of each unit are of each class."""
    shape = (num_units, len(units))
    return sparse.csr_array((np.ones(len(units), np.int64), (units, np.arange(len(units)))), shape) @ classes


def _most_common(units: npt.NDArray[np.int64], strata: npt.NDArray[np.int32], num_units: int) -> npt.NDArray[np.int32]:
    """The stratum that most rows of each unit have; of several the first."""
    size = int(strata.max()) + 1
    pairs, counts = np.unique(units * size + strata, return_counts=True)
    found = np.zeros(num_units, np.int32)
    # Written in the order of their counts, so the largest stays.
    order = np.lexsort((-pairs, counts))
    found[pairs[order] // size] = pairs[order] % size
    return found


def _choose(left: npt.NDArray[np.int64], units: _Units, size: int, spare: int) -> npt.NDArray[np.int64]:
    """Some of the units `left`, at most `spare`, which together have `size` texts."""
    if spare <= 0:
        return left[:0]
    if units.classes is not None:
        chosen = _choose_by_classes(left, units, units.classes, size, spare)
    elif units.strata is None:
        chosen = _fill(left, units, size, spare)
    else:
        members = [left[units.strata[left] == stratum] for stratum in np.unique(units.strata[left])]
        shares = _shares(size, [int(units.weights[own].sum()) for own in members])
        parts = [_fill(own, units, share, len(own) - 1) for own, share in zip(members, shares, strict=True)]
        chosen = np.concatenate(parts)[:spare]
    if len(chosen):
        return chosen
    return left[:1] if units.order is not None else left[[np.argmin(units.weights[left])]]


def _choose_by_classes(
    left: npt.NDArray[np.int64], units: _Units, classes: sparse.csr_array, size: int, spare: int
) -> npt.NDArray[np.int64]:
    """Some of the units `left` by their classes, and others until the size is reached. Each class keeps one."""
    own, weights = classes[left], units.weights[left]
    is_chosen = choose_by_classes(own, weights, size)
    missing = size - int(weights[is_chosen].sum())
    is_chosen |= np.isin(left, _fill(left[~is_chosen], units, missing, len(left)))
    return left[leave_each_class(is_chosen, own)][:spare]


def _shares(size: int, weights: list[int]) -> list[int]:
    """`size` in proportion to the weights, by largest remainders."""
    exact = np.array(weights, np.float64) * size / sum(weights)
    shares = np.floor(exact).astype(int)
    order = np.argsort(shares - exact, kind="stable")
    shares[order[: size - int(shares.sum())]] += 1
    return [int(share) for share in shares]


def _fill(left: npt.NDArray[np.int64], units: _Units, size: int, spare: int) -> npt.NDArray[np.int64]:
    """The first units that together have at most `size` texts; one that is too large is passed over."""
    chosen = [left[:0]]
    while size > 0 and spare > 0:
        if units.order is None and units.weights.max(initial=0) > size:
            left = left[units.weights[left] <= size]
        sums = np.cumsum(units.weights[left[:size]])
        num_fitting = min(int(np.searchsorted(sums, size, side="right")), spare)
        if not num_fitting:
            break
        chosen.append(left[:num_fitting])
        size -= int(sums[num_fitting - 1])
        spare -= num_fitting
        left = left[num_fitting:]
    return np.concatenate(chosen)
