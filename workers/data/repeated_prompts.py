"""How many tokens the two answers of a pair begin with alike, which is their prompt; gathered batch by batch.

A training pass computes these once for a pair (workers/training/beginnings.py, which looks for itself), so a plan has
to know them (luthier/planning/workload.py).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc

_SHORTEST = 8
"""A shorter beginning is computed for each answer."""


class RepeatedPrompts:
    """The common beginnings of pairs, none of them a target or what predicts one: 4 bytes per pair."""

    def __init__(self) -> None:
        self._lengths: list[npt.NDArray[np.int32]] = []

    def add(self, rows: pa.Table) -> None:
        """Takes rows with `input_ids`, `trainable`, `rejected_ids` and `rejected_trainable`; those of one text too."""
        for batch in rows.select(["input_ids", "trainable", "rejected_ids", "rejected_trainable"]).to_batches():
            better = _Texts(batch["input_ids"], batch["trainable"])
            worse = _Texts(batch["rejected_ids"], batch["rejected_trainable"])
            pairs = np.flatnonzero(worse.sizes)
            if len(pairs):
                self._lengths.append(_common(better, worse, pairs))

    def num_tokens(self, num_shared: int) -> int:
        """Of all pairs, behind the tokens that all texts begin with."""
        own = np.concatenate([np.zeros(0, np.int32), *self._lengths]) - num_shared
        return int(own[own >= _SHORTEST].sum())


class _Texts:
    """Token ids of all rows end to end, one more behind them, and where each row begins."""

    def __init__(self, ids: pa.Array, trainable: pa.Array) -> None:
        self.sizes = pc.list_value_length(ids).fill_null(0).to_numpy().astype(np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.ids = ids.flatten().to_numpy()
        self.is_target = np.append(trainable.flatten().to_numpy(zero_copy_only=False), False)


def _common(better: _Texts, worse: _Texts, pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """[pairs]: tokens, the last one of neither text among them."""
    limits = np.maximum(np.minimum(better.sizes[pairs], worse.sizes[pairs]) - 1, 0)
    stops = np.cumsum(limits)
    within = np.arange(limits.sum()) - np.repeat(stops - limits, limits)
    left, right = (np.repeat(texts.starts[pairs], limits) + within for texts in (better, worse))
    differs = better.ids[left] != worse.ids[right]
    differs |= better.is_target[left + 1] | worse.is_target[right + 1]
    ends = np.append(np.flatnonzero(differs), len(differs))
    found = ends[np.searchsorted(ends, stops - limits)] - (stops - limits)
    common: npt.NDArray[np.int32] = np.minimum(found, limits).astype(np.int32)
    return common
