"""Encoded rows made as long as they may be, or dropped, and as columns of a table."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from luthier.spec.data import Overlong
from workers.data import problems
from workers.data.problems import RowError
from workers.data.tokens.encode import Encoded

TOKENS = pa.schema(
    [
        ("input_ids", pa.large_list(pa.int32())),
        ("trainable", pa.large_list(pa.bool_())),
        ("weights", pa.large_list(pa.float32())),
        ("rejected_ids", pa.large_list(pa.int32())),
        ("rejected_trainable", pa.large_list(pa.bool_())),
        ("num_trainable", pa.int32()),
        ("was_truncated", pa.bool_()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""`reason` and `detail` are set on a row that is dropped; its lists are empty."""


@dataclass(frozen=True)
class Limit:
    """How long an example may be."""

    max_length: int
    """In tokens."""
    overlong: Overlong
    """What becomes of a longer one. One that is to be split stays whole, see windows.py; with `raise` it is dropped
    here, and fails the job where it is counted."""


@dataclass(frozen=True)
class Fitted:
    """A row as it goes on, or why it does not."""

    row: Encoded | None = None
    rejected: Encoded | None = None
    """The row with the worse answer."""
    was_cut: bool = False
    reason: str | None = None
    detail: str | None = None


def fit_pair(chosen: Encoded | RowError, rejected: Encoded | RowError, limit: Limit) -> Fitted:
    """Both or none: cut where one is too long, dropped if one has to be."""
    better, worse = fit(chosen, limit), fit(rejected, limit)
    for fitted, name in ((better, "chosen"), (worse, "rejected")):
        if fitted.reason is not None:
            return Fitted(was_cut=fitted.was_cut, reason=fitted.reason, detail=f"{name}: {fitted.detail}")
    return Fitted(better.row, worse.row, better.was_cut or worse.was_cut)


def fit(row: Encoded | RowError, limit: Limit, needs_target: bool = True) -> Fitted:
    """The row as long as it may be, if it may stay."""
    if isinstance(row, RowError):
        return Fitted(reason=row.reason, detail=row.detail)
    length = len(row.input_ids)
    is_overlong = length > limit.max_length
    if is_overlong and limit.overlong == "split":
        return Fitted(row)
    if is_overlong and limit.overlong in ("drop", "raise"):
        return Fitted(reason=problems.OVERLONG, detail=f"{length} tokens; data.max_length is {limit.max_length}")
    if is_overlong:
        weights = None if row.weights is None else row.weights[: limit.max_length]
        row = Encoded(row.input_ids[: limit.max_length], row.trainable[: limit.max_length], weights)
    # Nothing predicts the first token.
    if needs_target and not row.trainable[1:].any():
        cut = f" within the first {limit.max_length} of {length} tokens" if is_overlong else ""
        return Fitted(None, None, is_overlong, problems.NOTHING_TRAINABLE, f"no token to train on{cut}")
    return Fitted(row, was_cut=is_overlong)


def columns(rows: list[Fitted]) -> list[pa.Array]:
    """Those of `TOKENS`, one entry per row."""
    better, worse = [row.row for row in rows], [row.rejected for row in rows]
    return [
        _lists([None if row is None else row.input_ids for row in better], np.int32),
        _lists([None if row is None else row.trainable for row in better], np.bool_),
        _lists([None if row is None else row.weights for row in better], np.float32),
        _lists([None if row is None else row.input_ids for row in worse], np.int32),
        _lists([None if row is None else row.trainable for row in worse], np.bool_),
        pa.array([_num_trainable(row) for row in rows], pa.int32()),
        pa.array([row.was_cut for row in rows], pa.bool_()),
        pa.array([row.reason for row in rows], pa.string()),
        pa.array([row.detail for row in rows], pa.string()),
    ]


def _num_trainable(fitted: Fitted) -> int:
    return sum(int(row.trainable.sum()) for row in (fitted.row, fitted.rejected) if row is not None)


def _lists(rows: list[npt.NDArray[Any] | None], dtype: type[np.generic]) -> pa.LargeListArray:
    """One list per row; that of None is empty."""
    values = [np.zeros(0, dtype) if row is None else row for row in rows]
    offsets = pa.array(np.cumsum([0, *map(len, values)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate([np.zeros(0, dtype), *values])))
