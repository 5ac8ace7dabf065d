"""Rows of Arrow batches as records: what Parquet and Arrow files have in common.

Lists, structs and maps become JSON lists and objects. Dates and times are written as in ISO 8601, decimals as text with
all their digits. What JSON has no form for, such as bytes, is refused by row.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from workers.data import problems
from workers.data.files.blocks import POINTER, POINTER_REMEDY
from workers.data.files.record import Record
from workers.failures import DataError

BATCH_ROWS = 1000


def check_columns(names: Sequence[str], path: str) -> list[str]:
    """The names as they are.

    Raises:
        DataError: one of them is there twice.
    """
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(f"{path} has the columns {', '.join(map(repr, doubled))} more than once; rename or drop them")
    return list(names)


def check_fetched(path: str) -> None:
    """
    Raises:
        DataError: it is a pointer to a file that was not fetched.
    """
    with open(path, "rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            raise DataError(f"{path}: this is {POINTER_REMEDY}")


def records_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Record]:
    """Every row as a JSON object, numbered from 1; null stays null. A fault of the file ends it."""
    row = 0
    try:
        for batch in batches:
            for value in _rows(batch):
                row += 1
                yield _record(row, value)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the file
        yield Record(row + 1, None, problems.BROKEN_FILE, str(error))


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | ValueError]:
    try:
        yield from _values(batch)
    except (UnicodeDecodeError, OverflowError, _DoubledKeyError):
        # Nobody checks text or dates when they are written; find the rows.
        for index in range(batch.num_rows):
            try:
                yield _values(batch.slice(index, 1))[0]
            except (UnicodeDecodeError, _DoubledKeyError) as error:
                yield error
            except OverflowError as error:
                yield ValueError(f"a date or time that is out of range: {error}")


class _DoubledKeyError(ValueError):
    """A map has a key twice."""


def _values(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        values: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict")
    except KeyError as error:
        raise _DoubledKeyError(f"a map has a key more than once: {error}") from error
    return values


def _record(row: int, value: dict[str, Any] | ValueError) -> Record:
    if isinstance(value, UnicodeDecodeError):
        return Record(row, None, problems.NOT_UTF8, f"byte {value.start + 1} of a value is not UTF-8 text")
    if isinstance(value, ValueError):
        return Record(row, None, problems.WRONG_TYPE, str(value))
    try:
        return Record(row, json.dumps(value, ensure_ascii=False, default=_plain))
    except TypeError as error:
        return Record(row, None, problems.WRONG_TYPE, f"{error}; expected text")


def _plain(value: object) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be written as JSON")
