"""The rows that stay, as tokens: encoded by Daft in batches, in order, cut or dropped where too long.

Rows that are to be split come whole: see windows.py.
"""

import json
from collections.abc import Iterator
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
from workers.data.shapes import Notes

_BATCH_ROWS = 512

TOKENS = pa.schema(
    [
        ("input_ids", pa.large_list(pa.int32())),
        ("trainable", pa.large_list(pa.bool_())),
        ("weights", pa.large_list(pa.float32())),
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
        encoded = [_fit(row, spec) for row in encoder.encode(rows, [note.weights for note in said])]
        return _struct(encoded, [encoder.has_control_text(row) for row in rows])

    table = daft.read_parquet(str(part)).select("ordinal", "file", "row", "messages", "text", "notes")
    table = table.with_column("split", split_of(column("ordinal")))
    table = table.where(column("split").between(0, len(SPLITS) - 1))
    table = table.with_column("tokens", encode(column("messages"), column("text"), column("notes")))
    tokens = (column("tokens").get(name).alias(name) for name in TOKENS.names)
    messages = daft.lit("").alias("messages") if encoder.as_text else column("messages").fill_null("")
    return table.select("split", "file", "row", messages, *tokens)


_Fitted = tuple[Encoded | None, bool, str | None, str | None]


def _fit(row: Encoded | RowError, spec: DataSpec) -> _Fitted:
    """The row if it may stay, whether it was cut, and if it may not, reason and detail."""
    if isinstance(row, RowError):
        return None, False, row.reason, row.detail
    length = len(row.input_ids)
    is_overlong = length > spec.max_length
    if is_overlong and spec.overlong == "split":
        return row, False, None, None
    if is_overlong and spec.overlong == "drop":
        return None, False, problems.OVERLONG, f"{length} tokens; data.max_length is {spec.max_length}"
    if is_overlong:
        weights = None if row.weights is None else row.weights[: spec.max_length]
        row = Encoded(row.input_ids[: spec.max_length], row.trainable[: spec.max_length], weights)
    # Nothing predicts the first token.
    if not row.trainable[1:].any():
        cut = f" within the first {spec.max_length} of {length} tokens" if is_overlong else ""
        return None, is_overlong, problems.NOTHING_TRAINABLE, f"no token to train on{cut}"
    return row, is_overlong, None, None


def _struct(rows: list[_Fitted], has_control_text: list[bool]) -> pa.StructArray:
    encoded = [row for row, *_ in rows]
    columns = [
        _lists([None if row is None else row.input_ids for row in encoded], np.int32),
        _lists([None if row is None else row.trainable for row in encoded], np.bool_),
        _lists([None if row is None else row.weights for row in encoded], np.float32),
        pa.array([0 if row is None else int(row.trainable.sum()) for row in encoded], pa.int32()),
        pa.array([was_cut for _, was_cut, _, _ in rows]),
        pa.array(has_control_text),
        pa.array([reason for _, _, reason, _ in rows], pa.string()),
        pa.array([detail for _, _, _, detail in rows], pa.string()),
    ]
    return pa.StructArray.from_arrays(columns, fields=list(TOKENS))


def _lists(rows: list[npt.NDArray[Any] | None], dtype: type[np.generic]) -> pa.LargeListArray:
    """One list per row; that of None is empty."""
    values = [np.zeros(0, dtype) if row is None else row for row in rows]
    offsets = pa.array(np.cumsum([0, *map(len, values)]), pa.int64())
    return pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate([np.zeros(0, dtype), *values])))
