"""Texts that are longer than an example may be, as several examples (`data.overlong: split`).

A window begins with the last token of the one before, which predicts the first target: so every token of a text but
its first one is a target, of exactly one window.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def split_windows(rows: pa.Table, max_length: int) -> pa.Table:
    """The rows, one per window, in order.

    Args:
        rows: with the columns of `tokenise`; every token is a target, and none has a weight.
        max_length: of a window in tokens, at least 2.
    """
    lists = rows["input_ids"].combine_chunks()
    offsets = lists.offsets.to_numpy()
    lengths = np.diff(offsets)
    num_windows = np.maximum(1, -(-(lengths - 1) // (max_length - 1)))
    if len(rows) == 0 or num_windows.max() == 1:
        return rows
    parents = np.repeat(np.arange(len(lengths)), num_windows)
    number = np.arange(len(parents)) - np.repeat(np.cumsum(num_windows) - num_windows, num_windows)
    starts = number * (max_length - 1)
    stops = np.minimum(starts + max_length, lengths[parents])
    first = offsets[parents]
    ids = _slices(lists.values.to_numpy(), first + starts, first + stops)
    ends = np.cumsum(stops - starts)
    trainable = np.ones(ends[-1], np.bool_)
    trainable[(ends - (stops - starts))[number > 0]] = False
    windows = rows.take(pa.array(parents))
    for name, values in (("input_ids", ids), ("trainable", trainable)):
        column = pa.LargeListArray.from_arrays(pa.array(np.concatenate([[0], ends])), pa.array(values))
        windows = windows.set_column(windows.column_names.index(name), name, column)
    num_trainable = pa.array(stops - starts - (number > 0), pa.int32())
    return windows.set_column(windows.column_names.index("num_trainable"), "num_trainable", num_trainable)


def _slices(values: npt.NDArray[Any], starts: npt.NDArray[Any], stops: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`values[start:stop]` of each pair, end to end."""
    return np.concatenate([values[start:stop] for start, stop in zip(starts, stops, strict=True)])
