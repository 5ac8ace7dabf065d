"""Records in the form that all shapes become: one conversation or text each, checked, mended, with a fingerprint.

All that can be said of a row by itself is said here, in batches, by the steps of `steps/`; what takes other rows to say
comes later.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import pyarrow as pa

from luthier.spec.data import CurriculumSpec, RepairSpec, SplitSpec
from workers.data import problems
from workers.data.difficulty import difficulty_of
from workers.data.files import DoubledKeyError, Record, parse_json
from workers.data.lineage.fingerprint import fingerprint
from workers.data.problems import RowError
from workers.data.row import Notes, Row
from workers.data.shapes import Names, Shape, read_row
from workers.data.shapes.repair import Repairs, repair_turns
from workers.data.splits.split_keys import SplitKeys, split_keys
from workers.data.steps import RowStep

CANONICAL = pa.schema(
    [
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("messages", pa.string()),
        ("text", pa.string()),
        ("notes", pa.string()),
        ("fingerprint", pa.uint64()),
        ("fingerprint_low", pa.uint64()),
        ("language", pa.string()),
        ("signature", pa.binary()),
        ("group", pa.uint64()),
        ("stratum", pa.string()),
        ("time", pa.float64()),
        ("label", pa.string()),
        ("labels", pa.string()),
        ("difficulty", pa.float64()),
        ("repairs", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""`file` is an index into the sources. `messages` (JSON) or `text` is set, or `reason` and `detail` of a bad row.
`notes` (JSON) is set on a row that says something beside its text, `repairs` (JSON list of `Repair`) on one that was
mended. The fingerprint is 128 bits in two halves. `signature` is there where similar rows are looked for, `group`,
`stratum` and `time` where the split asks for them, `difficulty` where the curriculum does; `label` and `labels` (JSON)
are those of the notes."""

_NO_NOTES = Notes()
_NO_KEYS = SplitKeys()


def canonical(
    records: Sequence[Record],
    file: int,
    shape: Shape,
    system_prompt: str | None,
    names: Names,
    seed: bytes,
    steps: Sequence[RowStep],
    split: SplitSpec | None,
    curriculum: CurriculumSpec | None,
    repair: RepairSpec | None,
) -> pa.RecordBatch:
    """A batch of schema `CANONICAL`, one row per record; `split` and `curriculum` of rows that are to say so much."""
    rows = [_read(record, shape, system_prompt, names, split, curriculum, repair) for record in records]
    for step in steps:
        step([row for row in rows if row.error is None])
    values = [_columns(row, seed) for row in rows]
    columns = [[file] * len(rows), [record.row for record in records], *zip(*values, strict=True)]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, CANONICAL, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=CANONICAL)


def _read(
    record: Record,
    shape: Shape,
    system_prompt: str | None,
    names: Names,
    split: SplitSpec | None,
    curriculum: CurriculumSpec | None,
    repair: RepairSpec | None,
) -> Row:
    if record.json_text is None:
        return Row("", _NO_NOTES, RowError(record.reason or problems.BROKEN_FILE, record.detail or ""))
    try:
        value = _parse(record.json_text)
        repairs: Repairs = []
        mend = None if repair is None else partial(repair_turns, spec=repair, repairs=repairs)
        row = Row(*read_row(value, shape, system_prompt, names, mend), repairs=repairs)
        if split is not None:
            row.keys = split_keys(value, row.notes.label, row.notes.labels is not None, split)
        if curriculum is not None:
            row.difficulty = difficulty_of(value, curriculum)
        return row
    except RowError as error:
        return Row("", _NO_NOTES, error)


def _parse(text: str) -> Any:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        detail = f"{error.msg} at column {error.colno}; expected one JSON object per line"
        raise RowError(problems.BROKEN_JSON, detail) from error
    except DoubledKeyError as error:
        raise RowError(problems.BROKEN_JSON, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise RowError(problems.BROKEN_JSON, f"{error}; expected one JSON object per line") from error


def _columns(row: Row, seed: bytes) -> tuple[Any, ...]:
    """Those after `file` and `row`."""
    repairs = json.dumps(row.repairs, ensure_ascii=False) if row.repairs else None
    if row.error is None:
        try:
            digest = fingerprint(row.content, seed, row.notes)
        except UnicodeEncodeError:
            # JSON can spell half of a surrogate pair; no tokenizer can read it.
            row.error = RowError(problems.NOT_UTF8, r"holds half of a surrogate pair (\ud800 to \udfff)")
    if row.error is not None:
        return (None,) * 14 + (row.error.reason, row.error.detail)
    high, low = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    is_text = isinstance(row.content, str)
    messages = None if is_text else json.dumps(row.content, ensure_ascii=False)
    notes = None if row.notes == _NO_NOTES else json.dumps(asdict(row.notes), ensure_ascii=False)
    text = row.content if is_text else None
    keys = row.keys or _NO_KEYS
    labels = None if row.notes.labels is None else json.dumps(row.notes.labels, ensure_ascii=False)
    found = (row.language, row.signature, keys.group, keys.stratum, keys.time)
    beside = (row.notes.label, labels, row.difficulty)
    return messages, text, notes, high, low, *found, *beside, repairs, None, None
