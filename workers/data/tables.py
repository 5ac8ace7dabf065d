"""Writes Parquet files row by row in order, which Daft's own writer does not promise."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

_ROW_GROUP = 8192


class TableWriter:
    """One Parquet file; batches are gathered into row groups of about 8,000 rows."""

    def __init__(self, writer: Any, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def write(self, table: pa.Table) -> None:
        """Appends the rows; columns are chosen by name and cast to the file's schema."""
        self._waiting.append(table.select(self._schema.names).cast(self._schema))
        self._num_waiting += table.num_rows
        if self._num_waiting >= _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._num_waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._num_waiting = [], 0


@contextmanager
def open_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A new file at `path`, complete when the block is left without an exception."""
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        table = TableWriter(writer, schema)
        yield table
        table.flush()
