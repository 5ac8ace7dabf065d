"""Arrow files that are read where they lie: mapped into memory, never copied.

What is read are views into the mapping. So a file takes no memory but pages that the system may drop again, and all
processes of a machine that read it share them. Of each batch of rows some kilobytes are kept, of a row nothing.
"""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class MappedBatch:
    """Some rows of a file, column by column."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._columns = {name: batch.column(name) for name in batch.schema.names}
        self._lists = {
            name: (column.offsets.to_numpy(), column.values.to_numpy(zero_copy_only=True))
            for name, column in self._columns.items()
            if pa.types.is_list(column.type)
        }

    def value(self, name: str, row: int) -> Any:
        """Of a column that holds no lists."""
        return self._columns[name][row].as_py()

    def values(self, name: str, row: int) -> npt.NDArray[Any]:
        """One list of a column of lists, read-only and not a copy; that of null is empty."""
        offsets, values = self._lists[name]
        found: npt.NDArray[Any] = values[offsets[row] : offsets[row + 1]]
        return found

    def lengths(self, name: str) -> npt.NDArray[np.int32]:
        """[rows]: of the lists in a column."""
        lengths: npt.NDArray[np.int32] = np.diff(self._lists[name][0])
        return lengths

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """[rows]: of a column of numbers, not a number where it is null."""
        return np.asarray(self._columns[name].to_numpy(zero_copy_only=False), np.float64)


class MappedTable:
    """All rows of an Arrow IPC file without compression."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            FileNotFoundError: there is no such file.
            pyarrow.ArrowInvalid: it is something else.
        """
        # The reader keeps the mapping, and every array the reader.
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.schema: pa.Schema = reader.schema
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.batches = [MappedBatch(batch) for batch in batches]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)]).tolist()

    @property
    def num_rows(self) -> int:
        """Of all batches."""
        return int(self._starts[-1])

    def find(self, row: int) -> tuple[MappedBatch, int]:
        """The batch that has row `row` of the file, and which one it is there."""
        number = bisect_right(self._starts, row) - 1
        return self.batches[number], row - self._starts[number]

    def rows(self) -> Iterator[tuple[MappedBatch, int]]:
        """Every row in order, as `find` tells it."""
        for number, batch in enumerate(self.batches):
            for row in range(self._starts[number + 1] - self._starts[number]):
                yield batch, row

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """[rows]: of a column of numbers, not a number where it is null."""
        return np.concatenate([np.zeros(0), *(batch.numbers(name) for batch in self.batches)])

    def lengths(self, name: str) -> npt.NDArray[np.int32]:
        """[rows]: of the lists in a column; the lists themselves are not looked at."""
        return np.concatenate([np.zeros(0, np.int32), *(batch.lengths(name) for batch in self.batches)])
