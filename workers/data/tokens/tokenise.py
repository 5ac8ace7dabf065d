"""The rows that stay, as tokens: encoded part by part, in order, cut or dropped where too long.

Rows that are to be split come whole: see windows.py. Many parts are encoded by several processes, because rendering and
masks are Python; a few parts by this one, because a process takes seconds to start.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.engine import num_side_by_side
from workers.data.engine.fan_out import fan_out
from workers.data.row import Content, Notes, is_segmented
from workers.data.tokens.encode import Encoder
from workers.data.tokens.encoder_at_hand import encoder_at_hand
from workers.data.tokens.fit import TOKENS, Limit, columns, fit, fit_pair

_BATCH_ROWS = 1024
_PARTS_PER_PROCESS = 12
"""Fewer are not worth another process, which takes seconds to start."""

_PLACE = ("file", "row", "augmented", "difficulty")
_ENCODED = pa.schema(
    [
        ("split", pa.int8()),
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("augmented", pa.string()),
        ("difficulty", pa.float64()),
        ("messages", pa.string()),
        *TOKENS,
        ("tools", pa.string()),
        ("label", pa.string()),
        ("labels", pa.string()),
        ("has_control_text", pa.bool_()),
        ("warning", pa.string()),
    ]
)
"""`warning` says, on the first row of a batch, what was found out about the encoder."""


def tokenise(
    rows: Path, start: int, splits: npt.NDArray[np.int8], encoder: Encoder, limit: Limit
) -> Iterator[pa.RecordBatch]:
    """The rows that stay, in order: batches of `_ENCODED`.

    `rows` is a folder of Parquet files, whose ordinals begin with `start`; `splits` has one entry per ordinal, negative
    for a row that is dropped.
    """
    files = sorted(rows.iterdir())
    if not files:  # every row of the source was dropped
        return
    stops = start + np.cumsum([pq.read_metadata(file).num_rows for file in files])
    starts = [start, *stops[:-1].tolist()]
    parts = pa.table(
        {
            "path": [str(file) for file in files],
            "splits": [splits[a:b].tobytes() for a, b in zip(starts, stops.tolist(), strict=True)],
        }
    )
    num_processes = max(1, min(num_side_by_side(), len(files) // _PARTS_PER_PROCESS))
    with encoder_at_hand(encoder, rows) as at_hand:
        yield from fan_out(parts, _Tokeniser(at_hand, limit), _ENCODED, num_processes)


@dataclass(frozen=True)
class _Tokeniser:
    """Encodes the rows of one Parquet file."""

    at_hand: Callable[[], Encoder]
    limit: Limit

    def __call__(self, part: dict[str, Any]) -> pa.Table:
        """`path` of the file and `splits` of its rows, one byte each."""
        table = pq.read_table(part["path"], columns=[*_PLACE, "messages", "text", "notes"])
        splits = np.frombuffer(part["splits"], np.int8)
        table = table.append_column("split", pa.array(splits)).filter(pa.array(splits >= 0))
        encoder = self.at_hand()
        encoded = [self._encode(batch, encoder) for batch in table.to_batches(_BATCH_ROWS)]
        return pa.Table.from_batches(encoded, _ENCODED)

    def _encode(self, batch: pa.RecordBatch, encoder: Encoder) -> pa.RecordBatch:
        chats, texts, notes = (batch[name].to_pylist() for name in ("messages", "text", "notes"))
        rows = [orjson.loads(chat) if chat is not None else plain for chat, plain in zip(chats, texts, strict=True)]
        spoken = [chat if _is_spoken(row, encoder) else "" for chat, row in zip(chats, rows, strict=True)]
        said = [_NO_NOTES if note is None else Notes(**orjson.loads(note)) for note in notes]
        encoded = _encode(rows, said, spoken, encoder, self.limit)
        warning = pa.array(["; ".join(encoder.warnings) or None, *[None] * (len(rows) - 1)], pa.string())
        place = [batch[name] for name in ("split", *_PLACE)]
        return pa.RecordBatch.from_arrays([*place, *encoded, warning], schema=_ENCODED)


_NO_NOTES = Notes()


def _is_spoken(row: Content, encoder: Encoder) -> bool:
    """Whether it is a conversation to those who read the dataset."""
    return not (encoder.as_text or isinstance(row, str) or is_segmented(row))


def _encode(
    rows: list[Content], said: list[Notes], spoken: list[str], encoder: Encoder, limit: Limit
) -> list[pa.Array]:
    """The columns of `_ENCODED` from `messages` to `has_control_text`."""
    worse = [_answered_with(row, note.rejected) for row, note in zip(rows, said, strict=True)]
    tools = [note.tools for note in said]
    encoded = encoder.encode(rows, [note.weights for note in said], tools)
    compared = [place for place, row in enumerate(worse) if row is not None]
    answered = encoder.encode([row for row in worse if row is not None], tools=[tools[place] for place in compared])
    rejected = iter(answered)
    fitted = [
        fit(row, limit, encoder.wants_targets(content)) if other is None else fit_pair(row, next(rejected), limit)
        for row, content, other in zip(encoded, rows, worse, strict=True)
    ]
    has_control_text = [
        any(encoder.has_control_text(text) for text in (row, other) if text is not None)
        for row, other in zip(rows, worse, strict=True)
    ]
    sets = [None if note.labels is None else orjson.dumps(note.labels).decode() for note in said]
    beside = [pa.array(column, pa.string()) for column in (tools, [note.label for note in said], sets)]
    spelled = pa.array(has_control_text, pa.bool_())
    return [pa.array(spoken, pa.string()), *columns(fitted), *beside, spelled]


def _answered_with(row: Content, answer: str | None) -> Content | None:
    """The conversation with another last answer."""
    if answer is None:
        return None
    assert not isinstance(row, str), "only conversations have a worse answer"
    return [*row[:-1], {"role": "assistant", "content": answer}]
