"""Source files as a Daft table of canonical rows: one conversation or text each, checked, with a fingerprint.

Files are read lazily and in order, one Daft scan task per file; nothing of them stays in memory. Each line is looked
at once, by one parser, so a fault is known with its place and nothing has to be read again to find it.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from workers.data import problems
from workers.data.engine import daft
from workers.data.files import FILES, Record
from workers.data.problems import RowError
from workers.data.shapes import SHAPES, Content, convert
from workers.data.sources import SourceFile

_BATCH_ROWS = 1000

RAW = pa.schema(
    [
        ("file", pa.int32()),
        ("row", pa.int64()),
        ("json_text", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""A numbered record: `file` is an index into the list of sources; `json_text` or `reason` and `detail` are set."""

CANONICAL = {
    "messages": daft.DataType.string(),
    "text": daft.DataType.string(),
    "fingerprint": daft.DataType.uint64(),
    "fingerprint_low": daft.DataType.uint64(),
    "reason": daft.DataType.string(),
    "detail": daft.DataType.string(),
}
"""`messages` (JSON) or `text` is set, or `reason` and `detail`. The fingerprint is 128 bits in two halves."""


def read_rows(files: Sequence[SourceFile], system_prompt: str | None, seed: int) -> Any:
    """A lazy Daft table, in file order: `file`, `row` and the columns of `CANONICAL`."""
    shapes = [SHAPES[file.shape] for file in files]
    seed_bytes = seed.to_bytes(16, "little")

    @daft.func.batch(return_dtype=daft.DataType.struct(CANONICAL), use_process=False)
    def canonicalise(file: Any, json_text: Any, reason: Any, detail: Any) -> pa.StructArray:
        columns: list[list[Any]] = [[] for _ in CANONICAL]
        batch = (series.to_arrow().to_pylist() for series in (file, json_text, reason, detail))
        for index, text, known_reason, known_detail in zip(*batch, strict=True):
            row: tuple[Any, ...] = (None, None, None, None, known_reason, known_detail)
            if text is not None:
                try:
                    row = _canonical(convert(_parse(text), shapes[index], system_prompt), seed_bytes)
                except RowError as error:
                    row = (None, None, None, None, error.reason, error.detail)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
        arrays = [
            pa.array(values, dtype.to_arrow_dtype()) for values, dtype in zip(columns, CANONICAL.values(), strict=True)
        ]
        return pa.StructArray.from_arrays(arrays, names=list(CANONICAL))

    column = daft.col
    table = _Scan(files).read()
    table = table.with_column(
        "canonical", canonicalise(column("file"), column("json_text"), column("reason"), column("detail"))
    )
    return table.select("file", "row", *(column("canonical").get(name).alias(name) for name in CANONICAL))


def fingerprint(content: Content, seed: bytes = b"") -> bytes:
    """128 bits (BLAKE2b, RFC 7693) that are equal for contents that differ in white space alone.

    With a seed they also are a random draw: ordering rows by them shuffles them, wherever the rows stand.
    """
    parts = [content] if isinstance(content, str) else [part for m in content for part in (m["role"], m["content"])]
    normal = json.dumps([" ".join(part.split()) for part in parts], ensure_ascii=False)
    return hashlib.blake2b(normal.encode("utf-8"), digest_size=16, key=seed).digest()


def _parse(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = " (the whole file is a JSON list?)" if text.lstrip().startswith("[") else ""
        detail = f"{error.msg} at column {error.colno}; expected one JSON object per line{hint}"
        raise RowError(problems.BROKEN_JSON, detail) from error
    except (ValueError, RecursionError) as error:
        raise RowError(problems.BROKEN_JSON, f"{error}; expected one JSON object per line") from error


def _canonical(content: Content, seed: bytes) -> tuple[Any, ...]:
    try:
        digest = fingerprint(content, seed)
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair; no tokenizer can read it.
        raise RowError(problems.NOT_UTF8, r"holds half of a surrogate pair (\ud800 to \udfff)") from error
    high, low = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")
    if isinstance(content, str):
        return (None, content, high, low, None, None)
    return (json.dumps(content, ensure_ascii=False), None, high, low, None, None)


class _Scan(daft.io.source.DataSource):
    """Daft's view of the source files."""

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._files = tuple(files)

    @property
    def name(self) -> str:
        return "luthier source files"

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(RAW)

    async def get_tasks(self, pushdowns: Any) -> AsyncIterator["_ScanFile"]:
        for index, file in enumerate(self._files):
            yield _ScanFile(index, file)


class _ScanFile(daft.io.source.DataSourceTask):
    """Reads one file."""

    def __init__(self, index: int, file: SourceFile) -> None:
        self._index = index
        self._file = file

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(RAW)

    async def read(self) -> AsyncIterator[Any]:
        file = self._file
        records = FILES[file.file_type].records(file.uri, SHAPES[file.shape].columns)
        while batch := list(islice(records, _BATCH_ROWS)):
            yield daft.recordbatch.RecordBatch.from_arrow_record_batches([self._arrow(batch)], RAW)

    def _arrow(self, batch: Sequence[Record]) -> pa.RecordBatch:
        rows: Iterator[tuple[Any, ...]] = zip(*batch, strict=True)
        values = [[self._index] * len(batch), *(list(column) for column in rows)]
        return pa.RecordBatch.from_arrays(
            [pa.array(column, kind.type) for column, kind in zip(values, RAW, strict=True)], schema=RAW
        )
