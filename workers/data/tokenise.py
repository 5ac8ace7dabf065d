"""The rows that stay, as tokens: encoded by Daft in batches, in order, cut or dropped where too long.

Rows that are to be split come whole: see windows.py.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.dataset import SPLITS
from workers.data.encode import Encoder
from workers.data.encoder_at_hand import encoder_at_hand
from workers.data.engine import daft, num_side_by_side
from workers.data.fit import TOKENS, Limit, columns, fit, fit_pair
from workers.data.row import Content, Notes, is_segmented

_BATCH_ROWS = 512

_ENCODED = pa.schema(
    [
        ("messages", pa.string()),
        *TOKENS,
        ("tools", pa.string()),
        ("label", pa.string()),
        ("has_control_text", pa.bool_()),
    ]
)


def tokenise(
    rows: Path, start: int, splits: npt.NDArray[np.int8], encoder: Encoder, limit: Limit
) -> Iterator[pa.RecordBatch]:
    """The rows that stay, in order: `split`, `file`, `row`, `augmented`, `messages`, `tools`, `label`,
    `has_control_text` and `TOKENS`.

    `rows` is a folder of Parquet files, whose ordinals begin with `start`; `splits` has one entry per ordinal, negative
    for a row that is dropped. A Daft plan has but a few files, because it reads ahead as fast as it can, and tokenising
    is slow.
    """
    files = sorted(rows.iterdir())
    width = num_side_by_side()
    with encoder_at_hand(encoder, rows) as at_hand:
        for first in range(0, len(files), width):
            some = files[first : first + width]
            stop = start + sum(pq.read_metadata(file).num_rows for file in some)
            yield from _plan(some, start, splits[start:stop], at_hand, limit).to_arrow_iter()
            start = stop


def _plan(
    files: Sequence[Path], start: int, splits: npt.NDArray[np.int8], at_hand: Callable[[], Encoder], limit: Limit
) -> Any:
    column = daft.col

    @daft.func.batch(return_dtype=daft.DataType.int8(), use_process=False)
    def split_of(ordinal: Any) -> pa.Array:
        return pa.array(splits[ordinal.to_arrow().to_numpy(zero_copy_only=False) - start])

    dtype = daft.DataType.from_arrow_type(pa.struct(list(_ENCODED)))

    # In this process, because the tokenizer has threads of its own and gives up the interpreter lock.
    @daft.func.batch(return_dtype=dtype, use_process=False, batch_size=_BATCH_ROWS)
    def encode(messages: Any, text: Any, notes: Any) -> pa.StructArray:
        encoder = at_hand()
        chats, texts = messages.to_arrow().to_pylist(), text.to_arrow().to_pylist()
        rows = [json.loads(chat) if chat is not None else plain for chat, plain in zip(chats, texts, strict=True)]
        spoken = [chat if _is_spoken(row, encoder) else "" for chat, row in zip(chats, rows, strict=True)]
        said = [Notes(**json.loads(note)) if note is not None else Notes() for note in notes.to_arrow().to_pylist()]
        return _encode(rows, said, spoken, encoder, limit)

    table = daft.read_parquet([str(file) for file in files]).select(
        "ordinal", "file", "row", "messages", "text", "notes", "augmented"
    )
    table = table.with_column("split", split_of(column("ordinal")))
    table = table.where(column("split").between(0, len(SPLITS) - 1))
    table = table.with_column("tokens", encode(column("messages"), column("text"), column("notes")))
    tokens = (column("tokens").get(name).alias(name) for name in _ENCODED.names)
    return table.select("split", "file", "row", "augmented", *tokens)


def _is_spoken(row: Content, encoder: Encoder) -> bool:
    """Whether it is a conversation to those who read the dataset."""
    return not (encoder.as_text or isinstance(row, str) or is_segmented(row))


def _encode(
    rows: list[Content], said: list[Notes], spoken: list[str], encoder: Encoder, limit: Limit
) -> pa.StructArray:
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
    beside = [pa.array(column, pa.string()) for column in (tools, [note.label for note in said])]
    return pa.StructArray.from_arrays(
        [pa.array(spoken, pa.string()), *columns(fitted), *beside, pa.array(has_control_text, pa.bool_())],
        fields=list(_ENCODED),
    )


def _answered_with(row: Content, answer: str | None) -> Content | None:
    """The conversation with another last answer."""
    if answer is None:
        return None
    assert not isinstance(row, str), "only conversations have a worse answer"
    return [*row[:-1], {"role": "assistant", "content": answer}]
