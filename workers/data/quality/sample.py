"""A sample of distinct rows that does not depend on their order: those with the smallest fingerprints.

Fingerprints are seeded hashes, so the smallest ones are a uniform draw (bottom-k sampling; Cohen and Kaplan, 2007).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_MAX_CHARACTERS = 4000


@dataclass(frozen=True)
class SampledRow:
    """One row of the sample."""

    ordinal: int
    text: str
    """The first 4,000 characters of all that is said in it."""


class Sample:
    """At most `size` rows, while any number of rows goes by."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: dict[int, SampledRow] = {}
        self._limit = 1 << 64

    def add(self, start: int, fingerprints: pa.Array, texts: list[str]) -> None:
        """Takes a batch of rows, the first of which has the ordinal `start`."""
        values = fingerprints.to_numpy(zero_copy_only=False).astype(np.uint64)
        chosen = np.flatnonzero(values < np.uint64(self._limit)) if self._limit < 1 << 64 else range(len(values))
        for place in chosen:
            row = SampledRow(start + int(place), texts[place][:_MAX_CHARACTERS])
            self._rows.setdefault(int(values[place]), row)
        if len(self._rows) >= 2 * self._size:
            self._shrink()

    @property
    def rows(self) -> list[SampledRow]:
        """Those of the sample, in the order of the rows."""
        self._shrink()
        return sorted(self._rows.values(), key=lambda row: row.ordinal)

    def _shrink(self) -> None:
        kept = sorted(self._rows)[: self._size]
        self._rows = {fingerprint: self._rows[fingerprint] for fingerprint in kept}
        if len(kept) == self._size:
            self._limit = kept[-1]
