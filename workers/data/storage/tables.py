"""Tables written in order and in pieces of bounded size, neither of which Daft's own writers promise.

Rows that are read once more and then thrown away are Parquet, which is small. What is kept to be read by place is Arrow
without compression: the file is what is in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

_BLOCK_ROWS = 256
_MAX_ROWS = 8192
_PART_ROWS = 2048
"""What a process has in hand at once. Of fewer it would have to fetch too often, of more it would need more memory."""
_MAX_BYTES = 1 << 24
_COMPRESSION = "zstd"


class TableWriter:
    """Gathers batches and hands them on in tables of `max_rows` rows or 16 MiB, whichever comes first.

    Where a table ends depends on its rows alone, not on how they were cut into batches: equal rows make equal files.
    """

    def __init__(self, sink: Callable[[pa.Table], None], schema: pa.Schema, max_rows: int = _MAX_ROWS) -> None:
        self._sink = sink
        self._schema = schema
        self._max_rows = max_rows
        self._block: list[pa.Table] = []
        self._blocks: list[pa.Table] = []
        self._num_rows = 0
        self._num_bytes = 0

    def write(self, table: pa.Table) -> None:
        """Appends the rows; columns are chosen by name and cast to the schema."""
        table = table.select(self._schema.names).cast(self._schema)
        while table.num_rows:
            piece = table.slice(0, _BLOCK_ROWS - self._num_rows % _BLOCK_ROWS)
            table = table.slice(piece.num_rows)
            self._block.append(piece)
            self._num_rows += piece.num_rows
            if self._num_rows % _BLOCK_ROWS == 0:
                self._close_block()
                if self._num_rows >= self._max_rows or self._num_bytes >= _MAX_BYTES:
                    self.flush()

    def flush(self) -> None:
        """Hands on what waits."""
        self._close_block()
        if self._blocks:
            self._sink(pa.concat_tables(self._blocks).combine_chunks())
        self._blocks, self._num_rows, self._num_bytes = [], 0, 0

    def _close_block(self) -> None:
        if self._block:
            # A copy, so that its size is that of its own rows.
            self._blocks.append(pa.concat_tables(self._block).combine_chunks())
            self._num_bytes += self._blocks[-1].nbytes
        self._block = []


@contextmanager
def open_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """One new file; each table is a row group. Complete when the block is left without an exception."""
    with pq.ParquetWriter(path, schema, compression=_COMPRESSION) as writer:
        table = TableWriter(writer.write_table, schema)
        yield table
        table.flush()


@contextmanager
def open_mapped(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """One new Arrow IPC file to be mapped into memory; each table is a batch. Complete as with `open_table`."""
    with pa.ipc.new_file(path, schema) as writer:
        table = TableWriter(partial(writer.write_table, max_chunksize=_MAX_ROWS), schema)
        yield table
        table.flush()


@contextmanager
def open_parts(folder: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """A new folder; each table is a file, and the order of the files is that of their names."""
    folder.mkdir()
    numbers = count()

    def write_part(table: pa.Table) -> None:
        pq.write_table(table, folder / f"{next(numbers):08}.parquet", compression=_COMPRESSION)

    parts = TableWriter(write_part, schema, _PART_ROWS)
    yield parts
    parts.flush()
