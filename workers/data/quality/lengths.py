"""How long rows are, in counters of fixed size: exact up to 64, above that in steps of about 2 %."""

from typing import Any

import numpy as np
import numpy.typing as npt

_EXACT = 64
_STEPS_PER_DOUBLING = 32
_EDGES = np.unique(
    np.concatenate([np.arange(_EXACT), np.ceil(_EXACT * 2 ** (np.arange(32 * _STEPS_PER_DOUBLING) / 32))])
).astype(np.int64)
"""Smallest length of each counter."""
_NUM_BINS = 24
_FAR_OUT = 3.0


class Lengths:
    """A distribution that grows by batches."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(_EDGES), np.int64)
        self._sum = 0
        self._least: int | None = None
        self._most = 0

    def add(self, values: npt.NDArray[np.int64]) -> None:
        """Takes the lengths of a batch, none below 0."""
        if len(values):
            self._counts += np.bincount(np.searchsorted(_EDGES, values, side="right") - 1, minlength=len(_EDGES))
            self._sum += int(values.sum())
            least = int(values.min())
            self._least = least if self._least is None else min(self._least, least)
            self._most = max(self._most, int(values.max()))

    @property
    def num_values(self) -> int:
        """How many there are."""
        return int(self._counts.sum())

    def quantile(self, share: float) -> int:
        """The length that `share` of all do not exceed, to the resolution of the counters; there is at least one."""
        place = int(np.searchsorted(self._counts.cumsum(), share * self.num_values))
        return min(int(_EDGES[min(place, len(_EDGES) - 1)]), self._most)

    @property
    def outlier_share(self) -> float:
        """Share of lengths that are far out (Tukey, 1977): three interquartile ranges beyond the quartiles, on a
        logarithmic scale, on which lengths of texts are about symmetric."""
        if not self.num_values:
            return 0.0
        low, high = max(1, self.quantile(0.25)), max(1, self.quantile(0.75))
        reach = max(2.0, high / low) ** _FAR_OUT
        is_far = (low / reach > _EDGES) | (high * reach < _EDGES)
        return float(self._counts[is_far].sum() / self.num_values)

    def document(self) -> dict[str, Any]:
        """For report.json; the counts of the histogram are of lengths from one edge up to before the next one."""
        if self._least is None:
            return {"num_values": 0}
        used = np.flatnonzero(self._counts)
        bounds = np.unique(np.linspace(used[0], used[-1] + 1, _NUM_BINS + 1).astype(np.int64))
        edges = [*_EDGES[bounds[:-1]].tolist(), self._most + 1]
        return {
            "num_values": self.num_values,
            "min": self._least,
            "mean": self._sum / self.num_values,
            **{f"p{round(100 * share)}": self.quantile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)},
            "max": self._most,
            "outlier_share": self.outlier_share,
            "histogram": {"edges": edges, "counts": np.add.reduceat(self._counts, bounds[:-1]).tolist()},
        }
