"""The small columns of all canonical rows in memory, read file by file: what is decided on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pyarrow import compute as pc
from pyarrow import parquet as pq


def files_of(rows: Path) -> list[Path]:
    """The Parquet files of all parts, in the order of their rows: those of part 0, then those of part 1."""
    return sorted(rows.glob("*/*.parquet"))


def read_column(files: Sequence[Path], name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A numeric column, shape (rows,), 0 for null, with no second copy of it in memory."""
    values = np.empty(sum(pq.read_metadata(file).num_rows for file in files), dtype)
    start = 0
    for file in files:
        part = pc.fill_null(pq.read_table(file, columns=[name])[name], 0)
        values[start : start + len(part)] = part.to_numpy()
        start += len(part)
    return values


def read_codes(files: Sequence[Path], name: str) -> tuple[npt.NDArray[np.int32], list[str]]:
    """A column of few different texts: shape (rows,), indexes into the sorted texts; -1 for null."""
    parts: list[npt.NDArray[np.int32]] = [np.zeros(0, np.int32)]
    known: dict[str, int] = {}
    for file in files:
        encoded = pq.read_table(file, columns=[name])[name].combine_chunks().dictionary_encode()
        codes = np.array([known.setdefault(text, len(known)) for text in encoded.dictionary.to_pylist()], np.int32)
        own = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        parts.append(np.where(own < 0, -1, np.append(codes, -1)[own]).astype(np.int32))
    order = sorted(known)
    renumbered = np.full(len(known) + 1, -1, np.int32)
    renumbered[[known[text] for text in order]] = np.arange(len(order))
    return renumbered[np.concatenate(parts)], order
