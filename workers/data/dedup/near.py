"""Clusters of near duplicates: candidates by locality-sensitive hashing, kept where their sketches are alike.

One band is in memory at a time: 8 bytes per distinct text for its keys, 8 for their order. Sketches lie in a file, from
which those of candidates are read, block by block.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.dedup.clusters import Clusters
from workers.data.dedup.signature import Signing, similarity, unpack

_MAX_LEADERS = 16
"""Of one group of candidates. Who is like none of them was brought here by chance, and has other bands."""
_BLOCK = 1 << 14


def near_clusters(
    files: Sequence[Path],
    is_distinct: npt.NDArray[np.bool_],
    fingerprints: npt.NDArray[np.uint64],
    signing: Signing,
    threshold: float,
    scratch: Path,
) -> npt.NDArray[np.int32]:
    """Clusters of the distinct rows in `files`, shape (distinct rows,): equal labels for rows of one cluster.

    They do not depend on the order of the rows.

    Args:
        is_distinct: shape (rows of `files`,): the first row of each text.
        fingerprints: shape (distinct rows,), all different.
        scratch: a new folder, for as much as the signatures take.
    """
    scratch.mkdir()
    _spill(files, is_distinct, signing, scratch)
    clusters = Clusters(len(fingerprints))
    if not len(fingerprints):
        return clusters.labels
    with _Sketches(scratch / "sketches", signing.num_perm) as sketches:
        for band in range(signing.banding.num_bands):
            keys = np.fromfile(_band(scratch, band), np.uint64)
            for one, other in _similar(keys, fingerprints, clusters, sketches, threshold):
                clusters.link(one, other)
    return clusters.labels


def _spill(files: Sequence[Path], is_distinct: npt.NDArray[np.bool_], signing: Signing, scratch: Path) -> None:
    """The signatures of distinct rows by column: one file per band, one for the sketches."""
    bands = [_band(scratch, band) for band in range(signing.banding.num_bands)]
    start = 0
    for file in files:
        column = pq.read_table(file, columns=["signature"])["signature"]
        mask = is_distinct[start : start + len(column)]
        start += len(column)
        signatures = unpack(_values(column, signing.num_bytes), signing)
        keys = signatures.keys[mask]
        for band, path in enumerate(bands):
            _append(path, np.ascontiguousarray(keys[:, band]))
        _append(scratch / "sketches", signatures.sketches[mask])


def _values(column: pa.ChunkedArray, size: int) -> bytes:
    """The values of a binary column, each of `size` bytes, end to end."""
    chunks = column.cast(pa.binary(size)).chunks
    return b"".join(memoryview(chunk.buffers()[1])[chunk.offset * size :][: len(chunk) * size] for chunk in chunks)


def _append(path: Path, values: npt.NDArray[np.generic]) -> None:
    with path.open("ab") as stream:
        stream.write(values.tobytes())


def _band(scratch: Path, band: int) -> Path:
    return scratch / f"band-{band:03}"


class _Sketches:
    """A file of sketches, of which only those that are asked for are in memory. Mapping it would bring their
    neighbours in, too, which in the end is all of it."""

    def __init__(self, path: Path, num_perm: int) -> None:
        self._path = path
        self._size = num_perm

    def __enter__(self) -> "_Sketches":
        self._file = os.open(self._path, os.O_RDONLY)
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._file)

    def similarity(self, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Of each pair of rows."""
        found = [np.zeros(0)]
        for start in range(0, len(one), _BLOCK):
            rows, place = np.unique(
                np.concatenate([one[start : start + _BLOCK], other[start : start + _BLOCK]]), return_inverse=True
            )
            sketches = self._read(rows)
            half = len(place) // 2
            found.append(similarity(sketches[place[:half]], sketches[place[half:]]))
        return np.concatenate(found)

    def _read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        parts = [os.pread(self._file, self._size, offset) for offset in (rows * self._size).tolist()]
        return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, self._size)


def _sharing(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Rows whose key another row has, too."""
    order = np.argsort(keys)
    keys = keys[order]
    is_first = np.ones(len(keys) + 1, np.bool_)
    is_first[1:-1] = keys[1:] != keys[:-1]
    rows: npt.NDArray[np.int64] = order[~(is_first[1:] & is_first[:-1])]
    return rows


def _similar(
    keys: npt.NDArray[np.uint64],
    fingerprints: npt.NDArray[np.uint64],
    clusters: Clusters,
    sketches: _Sketches,
    threshold: float,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Pairs of similar rows among those with equal keys.

    The first row of each group leads; those like it leave with it, and the first of the others leads next. So a group
    of millions takes no more than `_MAX_LEADERS` comparisons per row. Groups are in the order of their fingerprints.
    """
    rows = _sharing(keys)
    rows = rows[np.lexsort((fingerprints[rows], keys[rows]))]
    group = keys[rows]
    for _ in range(_MAX_LEADERS):
        is_first = np.append(True, group[1:] != group[:-1]) if len(group) else np.zeros(0, np.bool_)
        leaders = rows[is_first][np.cumsum(is_first) - 1]
        rows, group, leaders = rows[~is_first], group[~is_first], leaders[~is_first]
        if not len(rows):
            return
        is_known = clusters.labels[leaders] == clusters.labels[rows]
        is_like = is_known.copy()
        is_like[~is_known] = sketches.similarity(leaders[~is_known], rows[~is_known]) >= threshold
        is_new = is_like & ~is_known
        yield leaders[is_new], rows[is_new]
        rows, group = rows[~is_like], group[~is_like]
