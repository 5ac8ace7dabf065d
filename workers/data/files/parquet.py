"""Parquet, row group by row group; only the wanted columns are read.

A column keeps a value that comes often once, in a dictionary, and a run of equal values as their number, so that a few
bytes may be gigabytes of rows. Text is therefore read as dictionaries and written out a little at a time; how much it
comes to is counted before the first row is read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.files.ratio import why_too_much
from workers.data.files.record import Record
from workers.data.files.row_bytes import PIECE_BYTES, pieces, repeats, row_bytes
from workers.data.files.tables import BATCH_ROWS, check_columns, records_of
from workers.data.problems import Unit
from workers.failures import DataError

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value in memory by its type in the file."""
_OFFSET_BYTES = 4
"""Of any other value, at least."""


def columns(path: str) -> list[str]:
    """Top-level columns of the file's schema.

    Raises:
        DataError: it is not a Parquet file, has a column twice, or unpacks to far more than it is.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_size(path, sum(_group_bytes(file.metadata.row_group(n)) for n in range(file.num_row_groups)))
            names = check_columns(file.schema_arrow.names, path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}; expected a file with Parquet footer") from error
    _check_rows(path)
    return names


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row as a JSON object with the wanted columns; null stays null."""
    yield from records_of(_written_out(path, wanted))


def unit(path: str) -> Unit:
    """Rows."""
    return "row"


def _written_out(path: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow if field.name in wanted}
    for batch in _batches(path, list(kinds)):
        for piece in pieces(batch):
            written = {name: _as(piece[name], kind) for name, kind in kinds.items()}
            yield pa.record_batch(written) if written else piece


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as its file has it; what is a dictionary there may stay one."""
    return column if column.type == kind or repeats(kind) else column.cast(kind)


def _batches(path: str, chosen: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Rows, their text in dictionaries; None: all columns."""
    with pq.ParquetFile(path) as file:
        leaves = [file.schema.column(number) for number in range(len(file.schema))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
    with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            # One by one, for each has dictionaries of its own, which Arrow cannot join within lists.
            num_rows = _batch_rows(file.metadata.row_group(number))
            yield from file.iter_batches(num_rows, row_groups=[number], columns=chosen)


def _check_rows(path: str) -> None:
    """Counts what all rows take, and leaves what is damaged to whoever reads it.

    Raises:
        DataError: it is far more than the file.
    """
    num_bytes = 0
    try:
        for batch in _batches(path, None):
            num_bytes += int(row_bytes(batch).sum())
            _check_size(path, num_bytes)
    except (pa.ArrowException, OSError):
        return


def _check_size(path: str, num_bytes: int) -> None:
    if fault := why_too_much(Path(path).stat().st_size, num_bytes):
        raise DataError(f"{path}: {fault}")


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """So many rows take about `PIECE_BYTES`, or are `BATCH_ROWS`."""
    one_row: int = _group_bytes(group) // max(1, group.num_rows)
    return max(1, min(BATCH_ROWS, PIECE_BYTES // max(1, one_row)))


def _group_bytes(group: pq.RowGroupMetaData) -> int:
    """At least what its columns take in memory, their dictionaries not written out."""
    chunks = [group.column(number) for number in range(group.num_columns)]
    least: int = sum(one.num_values * _WIDTHS.get(one.physical_type, _OFFSET_BYTES) for one in chunks)
    total: int = group.total_byte_size
    return max(total, least)
