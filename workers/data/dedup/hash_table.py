"""Many 64-bit hashes in little memory, and the row that each is from."""

import numpy as np
import numpy.typing as npt

_BITS_PER_HASH = 16
_MAX_LOG_SIZE = 28


class HashTable:
    """12 bytes per hash, and two more that answer most questions for what is not there without a search."""

    def __init__(self, hashes: npt.NDArray[np.uint64], rows: npt.NDArray[np.int32]) -> None:
        """Of a hash that several rows have it keeps the first one of them."""
        self._hashes, first = np.unique(hashes, return_index=True)
        self._rows = rows[first]
        log_size = min(_MAX_LOG_SIZE, max(10, int(np.log2(_BITS_PER_HASH * max(1, len(self._hashes)))) + 1))
        self._shift = np.uint64(64 - log_size)
        self._filter = np.zeros(1 << (log_size - 3), np.uint8)
        places = self._hashes >> self._shift
        np.bitwise_or.at(self._filter, places >> np.uint64(3), _bit(places))

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, hashes: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Which of `hashes` are there, by their indexes in order, and the row of each."""
        places = hashes >> self._shift
        (maybe,) = np.nonzero(self._filter[places >> np.uint64(3)] & _bit(places))
        if not len(maybe):
            return maybe, self._rows[:0]
        at = np.minimum(np.searchsorted(self._hashes, hashes[maybe]), len(self._hashes) - 1)
        is_there = self._hashes[at] == hashes[maybe]
        return maybe[is_there], self._rows[at[is_there]]


def _bit(places: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    return np.left_shift(np.uint8(1), (places & np.uint64(7)).astype(np.uint8))
