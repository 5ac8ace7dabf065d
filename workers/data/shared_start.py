"""How many tokens all texts of a split begin with, such as a system prompt; gathered batch by batch.

A training pass computes these once (`shared_prefix` of workers/training/packing.py, which looks for itself), so a plan
has to know them (luthier/planning/workload.py).
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc

_SHORTEST = 8
"""A shorter beginning is computed for each text."""
_MAX_PLACES = 1 << 20
"""Tokens that are compared at a time."""


class SharedStart:
    """The common beginning of texts, none of it a target or what predicts one."""

    def __init__(self) -> None:
        self._first: npt.NDArray[np.int32] | None = None
        self._length = 0

    @property
    def num_tokens(self) -> int:
        """Of the beginning; 0: there is none worth sharing."""
        return self._length if self._length >= _SHORTEST else 0

    def add(self, input_ids: pa.ChunkedArray, trainable: pa.ChunkedArray) -> None:
        """Takes texts, as lists of token ids, and of whether each is a target. Texts of no tokens are none."""
        for ids, mask in zip(input_ids.chunks, trainable.chunks, strict=True):
            if self._first is not None and self._length < _SHORTEST:
                return
            sizes = pc.list_value_length(ids).fill_null(0).to_numpy()
            starts = np.cumsum(sizes) - sizes
            flat = np.append(ids.flatten().to_numpy(), np.int32(0))
            targets = np.append(mask.flatten().to_numpy(zero_copy_only=False), False)
            is_text = sizes > 0
            self._compare(flat, targets, starts[is_text], sizes[is_text])

    def _compare(
        self,
        ids: npt.NDArray[np.int32],
        targets: npt.NDArray[np.bool_],
        starts: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
    ) -> None:
        """Some more texts at a time: the first few make the beginning short, and the others are quick to compare."""
        if self._first is None and len(starts):
            self._first = ids[starts[0] : starts[0] + sizes[0]].copy()
            self._length = len(self._first)
        at, number = 0, 1
        while at < len(starts) and self._length >= _SHORTEST:
            length = min(self._length, int(sizes[at : at + number].min()) - 1)
            places = starts[at : at + number, None] + np.arange(length)
            assert self._first is not None
            differs = ((ids[places] != self._first[:length]) | targets[places + 1]).any(axis=0)
            self._length = int(differs.argmax()) if differs.any() else length
            at += number
            number = min(2 * number, max(1, _MAX_PLACES // max(1, self._length)))
