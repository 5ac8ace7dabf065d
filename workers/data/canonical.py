"""Source files as a Daft table of canonical rows: one conversation or text each, checked, with a fingerprint.

One Daft scan task per file, in order. A task reads, parses and checks in one go, so that a fault is known with its
place and nothing has to be read again to find it, and so that the scan is the slowest part of its plan: Daft does not
hold back a source that is faster than what follows, and would take the whole file into memory.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import pyarrow as pa

from workers.data import problems
from workers.data.engine import daft
from workers.data.files import FILES, Record
from workers.data.problems import RowError
from workers.data.row import Content, Notes
from workers.data.shapes import SHAPES, Shape, convert
from workers.data.sources import SourceFile

_BATCH_ROWS = 1000

CANONICAL = pa.schema(
    [
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("messages", pa.string()),
        ("text", pa.string()),
        ("notes", pa.string()),
        ("fingerprint", pa.uint64()),
        ("fingerprint_low", pa.uint64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""`file` is an index into the sources. `messages` (JSON) or `text` is set, or `reason` and `detail` of a bad row.
`notes` (JSON) is set on a row that says something beside its text. The fingerprint is 128 bits in two halves."""


def read_rows(files: Sequence[SourceFile], first: int, system_prompt: str | None, seed: int) -> Any:
    """A lazy Daft table of schema `CANONICAL`, in the order of the files and their rows; `first` is their first index
    among all sources."""
    return _Scan([_ScanFile(index, file, system_prompt, seed) for index, file in enumerate(files, first)]).read()


def fingerprint(content: Content, seed: bytes = b"", notes: Notes = Notes()) -> bytes:  # noqa: B008 - immutable
    """128 bits (BLAKE2b, RFC 7693) that are equal for rows that differ in white space or in weights alone.

    With a seed they also are a random draw: ordering rows by them shuffles them, wherever the rows stand.
    """
    parts = [content] if isinstance(content, str) else [part for m in content for part in (m["role"], m["content"])]
    parts += ["/"] * 2 + [notes.rejected or "", notes.label or ""] if notes.rejected or notes.label else []
    normal = json.dumps([" ".join(part.split()) for part in parts], ensure_ascii=False)
    return hashlib.blake2b(normal.encode("utf-8"), digest_size=16, key=seed).digest()


_Columns = tuple[str | None, str | None, str | None, int | None, int | None, str | None, str | None]


def _canonical(record: Record, shape: Shape, system_prompt: str | None, seed: bytes) -> _Columns:
    """The columns after `file` and `row`."""
    if record.json_text is None:
        return None, None, None, None, None, record.reason, record.detail
    try:
        value = _parse(record.json_text)
        content = convert(value, shape, system_prompt)
        notes = shape.annotate(value)
        digest = fingerprint(content, seed, notes)
    except RowError as error:
        return None, None, None, None, None, error.reason, error.detail
    except UnicodeEncodeError:
        # JSON can spell half of a surrogate pair; no tokenizer can read it.
        return None, None, None, None, None, problems.NOT_UTF8, r"holds half of a surrogate pair (\ud800 to \udfff)"
    high, low = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    said = json.dumps(asdict(notes), ensure_ascii=False) if notes != Notes() else None
    if isinstance(content, str):
        return None, content, said, high, low, None, None
    return json.dumps(content, ensure_ascii=False), None, said, high, low, None, None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = " (the whole file is a JSON list?)" if text.lstrip().startswith("[") else ""
        detail = f"{error.msg} at column {error.colno}; expected one JSON object per line{hint}"
        raise RowError(problems.BROKEN_JSON, detail) from error
    except (ValueError, RecursionError) as error:
        raise RowError(problems.BROKEN_JSON, f"{error}; expected one JSON object per line") from error


class _ScanFile(daft.io.source.DataSourceTask):
    """Reads one file."""

    def __init__(self, index: int, file: SourceFile, system_prompt: str | None, seed: int) -> None:
        self._index = index
        self._file = file
        self._system_prompt = system_prompt
        self._seed = seed.to_bytes(16, "little")

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def read(self) -> AsyncIterator[Any]:
        shape = SHAPES[self._file.shape]
        records = FILES[self._file.file_type].records(self._file.uri, shape.columns)
        while batch := list(islice(records, _BATCH_ROWS)):
            rows = [_canonical(record, shape, self._system_prompt, self._seed) for record in batch]
            columns = [[self._index] * len(batch), [record.row for record in batch], *zip(*rows, strict=True)]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, CANONICAL, strict=True)]
            arrow = pa.RecordBatch.from_arrays(arrays, schema=CANONICAL)
            yield daft.recordbatch.RecordBatch.from_arrow_record_batches([arrow], CANONICAL)


class _Scan(daft.io.source.DataSource):
    """Daft's view of the source files."""

    def __init__(self, tasks: Sequence[_ScanFile]) -> None:
        self._tasks = tasks

    @property
    def name(self) -> str:
        return "luthier source files"

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def get_tasks(self, pushdowns: Any) -> AsyncIterator[_ScanFile]:
        for task in self._tasks:
            yield task
