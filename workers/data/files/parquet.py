"""Parquet, row group by row group; only the wanted columns are read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.files.ratio import why_too_much
from workers.data.files.record import Record
from workers.data.files.tables import BATCH_ROWS, check_columns, records_of
from workers.data.problems import Unit
from workers.failures import DataError


def columns(path: str) -> list[str]:
    """Top-level columns of the file's schema.

    Raises:
        DataError: it is not a Parquet file, has a column twice, or unpacks to far more than it is.
    """
    try:
        with pq.ParquetFile(path) as file:
            groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
            if fault := why_too_much(Path(path).stat().st_size, sum(group.total_byte_size for group in groups)):
                raise DataError(f"{path}: {fault}")
            return check_columns(file.schema_arrow.names, path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}; expected a file with Parquet footer") from error


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row as a JSON object with the wanted columns; null stays null."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        chosen = [name for name in file.schema_arrow.names if name in wanted]
        yield from records_of(file.iter_batches(BATCH_ROWS, columns=chosen))


def unit(path: str) -> Unit:
    """Rows."""
    return "row"
