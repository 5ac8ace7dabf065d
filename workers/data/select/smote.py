"""`data.balance.method: smote`: which rows of a small class come again, by Chawla et al. (2002, arXiv:1106.1813).

SMOTE draws a vector between a row and one of its neighbours. A vector of hashed words is no text, so each stands for
the row of the class that it is nearest to, and that row comes again: more often where the class is dense, and less for
a row that nothing is like. With `data.balance.rewrite` it comes again in other words.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from imblearn.over_sampling import SMOTE
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from luthier.spec.data.balance import BalanceSpec
from workers.data.select.features import HashedWords
from workers.data.storage.scratch import content_of, plain_text, read_scratch
from workers.failures import ConfigError

_MAX_ROWS = 50_000
"""Whose vectors are in memory at once: 100 MB."""


def smote_copies(
    rows: Path,
    small: Sequence[npt.NDArray[np.int64]],
    largest: npt.NDArray[np.int64],
    fewest: int,
    spec: BalanceSpec,
    seed: int,
) -> list[npt.NDArray[np.int32]]:
    """How many synthetic vectors of each small class are nearest to each of its rows.

    A class with a single row has no neighbour to go towards: all its vectors are that row.

    Args:
        rows: scratch folder.
        small: ordinals of the rows of each small class.
        largest: those of the largest class.
        fewest: rows that every class is to have.
        spec: how many neighbours count.
        seed: of the draws.

    Raises:
        ConfigError: too many rows would have to be compared.
    """
    num_rows = sum(map(len, small))
    if num_rows > _MAX_ROWS:
        raise ConfigError(
            f"data.balance.method smote compares every row of the small classes, and there are {num_rows}, more than "
            f"{_MAX_ROWS}; set it to oversample"
        )
    # SMOTE wants to see two classes, and does not look at the other one any further.
    others = _vectors(rows, largest[:1])
    return [_copies(_vectors(rows, own), others, fewest, spec, seed) for own in small]


def _copies(
    own: npt.NDArray[np.float32], others: npt.NDArray[np.float32], fewest: int, spec: BalanceSpec, seed: int
) -> npt.NDArray[np.int32]:
    if len(own) == 1:
        return np.array([fewest - 1], np.int32)
    labels = np.repeat([1, 0], [len(own), len(others)])
    sampler = SMOTE(
        sampling_strategy={1: fewest}, k_neighbors=min(spec.neighbours, len(own) - 1), random_state=seed % (1 << 32)
    )
    # One thread: what is nearest must not depend on the order of a sum.
    with threadpool_limits(1):
        made, _ = sampler.fit_resample(np.concatenate([own, others]), labels)
        synthetic = made[len(labels) :]
        nearest = NearestNeighbors(n_neighbors=1).fit(own).kneighbors(synthetic, return_distance=False)[:, 0]
    return np.bincount(nearest, minlength=len(own)).astype(np.int32)


def _vectors(rows: Path, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Shape [ordinals, 512], in their order."""
    ascending = np.sort(ordinals)
    features = HashedWords()
    gathered = []
    for start, batch in read_scratch(rows, ["messages", "text"]):
        first, last = np.searchsorted(ascending, [start, start + batch.num_rows])
        if first < last:
            wanted = batch.take(ascending[first:last] - start)
            pairs = zip(wanted["messages"].to_pylist(), wanted["text"].to_pylist(), strict=True)
            gathered.append(features([plain_text(content_of(*pair)) for pair in pairs]))
    found: npt.NDArray[np.float32] = np.concatenate(gathered)[np.searchsorted(ascending, ordinals)]
    return found
