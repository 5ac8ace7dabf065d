"""Rows that were added, on their way to the second pass: Parquet files like those of the rows that were read.

They have the file and the row of the one that they were made of, are marked by what made them, and are counted by that.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from workers.data.outcome import Outcome
from workers.data.storage.tables import TableWriter, open_parts


class AddedRows:
    """One folder per part, in which rows are numbered from 0."""

    def __init__(self, tables: Sequence[TableWriter], outcome: Outcome) -> None:
        self._tables = tables
        self._outcome = outcome
        self._next = [0] * len(tables)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, schema: pa.Schema, outcome: Outcome) -> Iterator["AddedRows"]:
        """New sub-folders of `folder`, complete when the block is left without an exception."""
        with ExitStack() as stack:
            parts = range(len(outcome.parts))
            yield cls([stack.enter_context(open_parts(folder / f"{part:04}", schema)) for part in parts], outcome)

    def write(self, rows: pa.RecordBatch, marks: Sequence[str]) -> None:
        """Appends rows of one part, each with what made it."""
        if not rows.num_rows:
            return
        part = self._outcome.part_of_file[rows["file"][0].as_py()]
        table = pa.Table.from_batches([rows])
        ordinals = np.arange(self._next[part], self._next[part] + rows.num_rows)
        for name, values in (("ordinal", pa.array(ordinals)), ("augmented", pa.array(marks, pa.string()))):
            table = table.set_column(table.column_names.index(name), name, values)
        self._tables[part].write(table)
        self._next[part] += rows.num_rows
        self._outcome.tallies[part].num_augmented.update(marks)
