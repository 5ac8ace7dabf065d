"""The rows that stay, as tokens: encoded by Daft in batches, in order, cut or dropped where too long.

Rows that are to be split come whole: see windows.py.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet as pq

from luthier.spec import DataSpec
from workers.data import problems
from workers.data.dataset import SPLITS
from workers.data.encode import Encoded, Encoder
from workers.data.engine import daft
from workers.data.problems import RowError
from workers.data.row import Content, Notes

_BATCH_ROWS = 512

TOKENS = pa.schema(
    [
        ("input_ids", pa.large_list(pa.int32())),
        ("trainable", pa.large_list(pa.bool_())),
        ("weights", pa.large_list(pa.float32())),
        ("rejected_ids", pa.large_list(pa.int32())),
        ("rejected_trainable", pa.large_list(pa.bool_())),
        ("label", pa.string()),
        ("num_trainable", pa.int32()),
        ("was_truncated", pa.bool_()),
        ("has_control_text", pa.bool_()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""`reason` and `detail` are set on a row that is dropped; its lists are empty."""


def tokenise(rows: Path, splits: npt.NDArray[np.int8], encoder: Encoder, spec: DataSpec) -> Iterator[pa.RecordBatch]:
    """The rows that stay, in order: `split`, `file`, `row`, `messages` and the columns of `TOKENS`.

    `rows` is a folder of Parquet files; `splits` has one entry per row, negative for a row that is dropped. One Daft
    plan per file, because a plan reads ahead as fast as it can, and tokenising is slow.
    """
    start = 0
    for part in sorted(rows.iterdir()):
        stop = start + pq.read_metadata(part).num_rows
        yield from _plan(part, start, splits[start:stop], encoder, spec).to_arrow_iter()
        start = stop


def _plan(part: Path, start: int, splits: npt.NDArray[np.int8], encoder: Encoder, spec: DataSpec) -> Any:
    column = daft.col

    @daft.func.batch(return_dtype=daft.DataType.int8(), use_process=False)
    def split_of(ordinal: Any) -> pa.Array:
        return pa.array(splits[ordinal.to_arrow().to_numpy(zero_copy_only=False) - start])

    dtype = daft.DataType.from_arrow_type(pa.struct(list(TOKENS)))

    # In this process, because the tokenizer has threads of its own and gives up the interpreter lock.
    @daft.func.batch(return_dtype=dtype, use_process=False, batch_size=_BATCH_ROWS)
    def encode(messages: Any, text: Any, notes: Any) -> pa.StructArray:
        chats, texts = messages.to_arrow().to_pylist(), text.to_arrow().to_pylist()
        rows = [json.loads(chat) if chat is not None else plain for chat, plain in zip(chats, texts, strict=True)]
        said = [Notes(**json.loads(note)) if note is not None else Notes() for note in notes.to_arrow().to_pylist()]
        worse = [_answered_with(row, note.rejected) for row, note in zip(rows, said, strict=True)]
        encoded = encoder.encode(rows, [note.weights for note in said])
        rejected = iter(encoder.encode([row for row in worse if row is not None]))
        fitted = [
            _fit(row, spec, encoder.has_targets) if other is None else _fit_pair(row, next(rejected), spec)
            for row, other in zip(encoded, worse, strict=True)
        ]
        has_control_text = [
            any(encoder.has_control_text(text) for text in (row, other) if text is not None)
            for row, other in zip(rows, worse, strict=True)
        ]
        return _struct(fitted, [note.label for note in said], has_control_text)

    table = daft.read_parquet(str(part)).select("ordinal", "file", "row", "messages", "text", "notes")
    table = table.with_column("split", split_of(column("ordinal")))
    table = table.where(column("split").between(0, len(SPLITS) - 1))
    table = table.with_column("tokens", encode(column("messages"), column("text"), column("notes")))
    tokens = (column("tokens").get(name).alias(name) for name in TOKENS.names)
    messages = daft.lit("").alias("messages") if encoder.as_text else column("messages").fill_null("")
    return table.select("split", "file", "row", messages, *tokens)


@dataclass(frozen=True)
class _Fitted:
    """A row as it goes on, or why it does not."""

    row: Encoded | None = None
    rejected: Encoded | None = None
    """The row with the worse answer."""
    was_cut: bool = False
    reason: str | None = None
    detail: str | None = None


def _answered_with(row: Content, answer: str | None) -> Content | None:
    """The conversation with another last answer."""
    if answer is None:
        return None
    assert not isinstance(row, str), "only conversations have a worse answer"
    return [*row[:-1], {"role": "assistant", "content": answer}]


def _fit_pair(chosen: Encoded | RowError, rejected: Encoded | RowError, spec: DataSpec) -> _Fitted:
    """Both or none: cut where one is too long, dropped if one has to be."""
    better, worse = _fit(chosen, spec), _fit(rejected, spec)
    for fitted, name in ((better, "chosen"), (worse, "rejected")):
        if fitted.reason is not None:
            return _Fitted(was_cut=fitted.was_cut, reason=fitted.reason, detail=f"{name}: {fitted.detail}")
    return _Fitted(better.row, worse.row, better.was_cut or worse.was_cut)


def _fit(row: Encoded | RowError, spec: DataSpec, needs_target: bool = True) -> _Fitted:
    """The row as long as it may be, if it may stay."""
    if isinstance(row, RowError):
        return _Fitted(reason=row.reason, detail=row.detail)
    length = len(row.input_ids)
    is_overlong = length > spec.max_length
    if is_overlong and spec.overlong == "split":
        return _Fitted(row)
    if is_overlong and spec.overlong == "drop":
        return _Fitted(reason=problems.OVERLONG, detail=f"{length} tokens; data.max_length is {spec.max_length}")
    if is_overlong:
        weights = None if row.weights is None else row.weights[: spec.max_length]
        row = Encoded(row.input_ids[: spec.max_length], row.trainable[: spec.max_length], weights)
    # Nothing predicts the first token.
    if needs_target and not row.trainable[1:].any():
        cut = f" within the first {spec.max_length} of {length} tokens" if is_overlong else ""
        return _Fitted(None, None, is_overlong, problems.NOTHING_TRAINABLE, f"no token to train on{cut}")
    return _Fitted(row, was_cut=is_overlong)


def _struct(rows: list[_Fitted], labels: list[str | None], has_control_text: list[bool]) -> pa.StructArray:
    better, worse = [row.row for row in rows], [row.rejected for row in rows]
    columns = [
        _lists([None if row is None else row.input_ids for row in better], np.int32),
        _lists([None if row is None else row.trainable for row in better], np.bool_),
        _lists([None if row is None else row.weights for row in better], np.float32),
        _lists([None if row is None else row.input_ids for row in worse], np.int32),
        _lists([None if row is None else row.trainable for row in worse], np.bool_),
        pa.array(labels, pa.string()),
        pa.array([_num_trainable(row) for row in rows], pa.int32()),
        pa.array([row.was_cut for row in rows]),
        pa.array(has_control_text),
        pa.array([row.reason for row in rows], pa.string()),
        pa.array([row.detail for row in rows], pa.string()),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(TOKENS))


def _num_trainable(fitted: _Fitted) -> int:
    return sum(int(row.trainable.sum()) for row in (fitted.row, fitted.rejected) if row is not None)


def _lists(rows: list[npt.NDArray[Any] | None], dtype: type[np.generic]) -> pa.LargeListArray:
    """One list per row; that of None is empty."""
    values = [np.zeros(0, dtype) if row is None else row for row in rows]
    offsets = pa.array(np.cumsum([0, *map(len, values)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate([np.zeros(0, dtype), *values])))
