"""Parquet, row group by row group; only the wanted columns are read."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import pyarrow as pa
from pyarrow import parquet as pq

from workers.data import problems
from workers.data.files.record import Record
from workers.failures import DataError

_BATCH_ROWS = 1000


def columns(uri: str) -> list[str]:
    """Top-level columns of the file's schema.

    Raises:
        DataError: it is not a Parquet file.
    """
    try:
        with fsspec.open(uri, "rb") as stream:
            return list(pq.ParquetFile(stream).schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{uri} cannot be read as Parquet: {error}; expected a file with Parquet footer") from error


def records(uri: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row as a JSON object with the wanted columns; null stays null."""
    row = 0
    with fsspec.open(uri, "rb") as stream:
        file = pq.ParquetFile(stream)
        chosen = [name for name in file.schema_arrow.names if name in wanted]
        try:
            for batch in file.iter_batches(_BATCH_ROWS, columns=chosen):
                for value in _rows(batch):
                    row += 1
                    yield _record(row, value)
        except (pa.ArrowException, OSError) as error:
            yield Record(row + 1, None, problems.BROKEN_FILE, str(error))


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        # Parquet promises UTF-8 and nobody checks; find the rows.
        for index in range(batch.num_rows):
            try:
                yield batch.slice(index, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error


def _record(row: int, value: dict[str, Any] | UnicodeDecodeError) -> Record:
    if isinstance(value, UnicodeDecodeError):
        return Record(row, None, problems.NOT_UTF8, f"byte {value.start + 1} of a value is not UTF-8 text")
    try:
        return Record(row, json.dumps(value, ensure_ascii=False))
    except TypeError as error:
        return Record(row, None, problems.WRONG_TYPE, f"{error}; expected text")
