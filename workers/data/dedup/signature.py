"""Signatures of rows: MinHash (Broder, 1997) of the n-grams of their words, made by Daft in bulk.

What is kept of a signature are the keys of its bands, which find candidates, and eight bits of each hash, which say how
similar two rows are (Li and König, b-bit minwise hashing, WWW 2010).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from luthier.spec import DataSpec
from luthier.spec.data import NearSpec
from workers.data.dedup.banding import Banding, banding
from workers.data.dedup.words import comparable
from workers.data.engine import daft
from workers.data.row import Row

_MIX = np.uint64(0x9E3779B97F4A7C15)
_CHANCE = 1 / 256
"""That eight bits of two different hashes agree."""


@dataclass(frozen=True)
class Signing:
    """How rows are signed."""

    num_perm: int
    ngram: int
    banding: Banding

    @property
    def num_bytes(self) -> int:
        """Of a packed signature: the keys of the bands, then the sketch."""
        return 8 * self.banding.num_bands + self.num_perm


@dataclass(frozen=True)
class Signatures:
    """Of some rows."""

    keys: npt.NDArray[np.uint64]
    """Shape (rows, bands): equal where rows agree in all hashes of a band."""
    sketches: npt.NDArray[np.uint8]
    """Shape (rows, num_perm)."""


def near_of(spec: DataSpec) -> NearSpec | None:
    """What near duplicates are to a job; None: it does not look for them among its rows."""
    if spec.deduplication.near is not None:
        return spec.deduplication.near
    return NearSpec() if spec.split is not None and spec.split.near_duplicates_together else None


def signing_of(spec: DataSpec) -> Signing | None:
    """How a job's rows are signed; None: nothing asks how similar they are."""
    near, benchmark = near_of(spec), spec.decontaminate.near if spec.decontaminate else None
    thresholds = [near.threshold if near else None, benchmark]
    asked = [threshold for threshold in thresholds if threshold is not None]
    if not asked:
        return None
    near = near or NearSpec()
    return Signing(near.num_perm, near.ngram, banding(min(asked), near.num_perm))


def sign(texts: Sequence[str], signing: Signing) -> Signatures:
    """Signatures of texts, which are words with one space between them."""
    series = daft.Series.from_arrow(pa.array(texts, pa.large_string()))
    hashes = series.minhash(signing.num_perm, signing.ngram, 1, "xxhash3_64").to_arrow().flatten().to_numpy()
    matrix = hashes.reshape(len(texts), signing.num_perm).astype(np.uint64)
    # The low bits of a minimum are all that is random in it, and not quite so in Daft's.
    sketches = ((matrix * _MIX) >> np.uint64(56)).astype(np.uint8)
    bands, rows = signing.banding.num_bands, signing.banding.num_rows
    parts = matrix[:, : bands * rows].reshape(len(texts), bands, rows)
    keys = np.zeros((len(texts), bands), np.uint64)
    for row in range(rows):
        keys = (keys ^ parts[:, :, row]) * _MIX
        keys ^= keys >> np.uint64(29)
    return Signatures(keys, sketches)


def similarity(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of the rows of two arrays of sketches, each of shape (rows, num_perm)."""
    agreeing: npt.NDArray[np.float64] = (one == other).mean(axis=1)
    return (agreeing - _CHANCE) / (1 - _CHANCE)


def pack(signatures: Signatures) -> list[bytes]:
    """One value per row, `Signing.num_bytes` long."""
    keys = signatures.keys.astype("<u8").view(np.uint8).reshape(len(signatures.keys), -1)
    return [row.tobytes() for row in np.concatenate([keys, signatures.sketches], axis=1)]


def unpack(packed: bytes | memoryview, signing: Signing) -> Signatures:
    """Packed signatures, end to end."""
    data = np.frombuffer(packed, np.uint8).reshape(-1, signing.num_bytes)
    num_bands = signing.banding.num_bands
    keys = np.ascontiguousarray(data[:, : 8 * num_bands]).view("<u8").astype(np.uint64)
    return Signatures(keys.reshape(-1, num_bands), data[:, 8 * num_bands :])


class Signer:
    """The step that signs rows as the last steps leave them."""

    def __init__(self, signing: Signing) -> None:
        self._signing = signing

    def __call__(self, rows: Sequence[Row]) -> None:
        """Sets the `signature` of each row."""
        if rows:
            texts = [comparable(row.content, row.notes) for row in rows]
            for row, signature in zip(rows, pack(sign(texts, self._signing)), strict=True):
                row.signature = signature
