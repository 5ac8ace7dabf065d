"""How a signature is cut into bands, so that similar rows agree in one of them and others seldom do.

Rows of similarity s agree in all `rows` hashes of at least one of `bands` bands with probability 1 - (1 - s^rows)^bands
(Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.2).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_NUM_STEPS = 200
_WEIGHT_OF_MISSES = 0.98
"""Candidates are compared, so a pair too many costs a microsecond; a pair that is missed stays in the data."""


@dataclass(frozen=True)
class Banding:
    """`num_bands` x `num_rows` hashes, at most as many as a signature has."""

    num_bands: int
    num_rows: int
    """Hashes of a band."""

    def probability(self, similarity: float) -> float:
        """That two rows of this similarity become candidates."""
        return float(1 - (1 - similarity**self.num_rows) ** self.num_bands)


@lru_cache
def banding(threshold: float, num_perm: int) -> Banding:
    """The one with the least area of false candidates below the threshold and of misses above it, misses weighing more.

    The areas are those of Zhu et al., LSH Ensemble (VLDB 2016, section 4), as datasketch has them.
    """
    below = (np.arange(_NUM_STEPS) + 0.5) / _NUM_STEPS * threshold
    above = threshold + (np.arange(_NUM_STEPS) + 0.5) / _NUM_STEPS * (1 - threshold)
    best, least = Banding(1, 1), np.inf
    for num_bands in range(1, num_perm + 1):
        for num_rows in range(1, num_perm // num_bands + 1):
            false = (1 - (1 - below**num_rows) ** num_bands).mean() * threshold
            missed = ((1 - above**num_rows) ** num_bands).mean() * (1 - threshold)
            cost = (1 - _WEIGHT_OF_MISSES) * false + _WEIGHT_OF_MISSES * missed
            if cost < least:
                best, least = Banding(num_bands, num_rows), cost
    return best
