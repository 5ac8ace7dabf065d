"""Source files as a lazy Daft table of canonical rows, one scan task per file, in order.

A task reads, parses, checks and mends in one go, so that a fault is known with its place and nothing has to be read
again to find it, and so that the scan is the slowest part of its plan: Daft does not hold back a source that is faster
than what follows, and would take the whole file into memory.
"""

from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Any

from luthier.spec import DataSpec
from workers.data.canonical import CANONICAL, canonical
from workers.data.engine import daft
from workers.data.files import FILES
from workers.data.parts import Part
from workers.data.shapes import SHAPES
from workers.data.sources import SourceFile
from workers.data.steps import steps_of

_BATCH_ROWS = 1000


def read_rows(files: Sequence[SourceFile], first: int, part: Part, spec: DataSpec) -> Any:
    """A lazy Daft table of schema `CANONICAL`, in the order of the files and their rows.

    Args:
        files: of `part`.
        first: their first index among all sources.
    """
    return _Scan([_ScanFile(index, file, part, spec) for index, file in enumerate(files, first)]).read()


class _ScanFile(daft.io.source.DataSourceTask):
    """Reads one file."""

    def __init__(self, index: int, file: SourceFile, part: Part, spec: DataSpec) -> None:
        self._index = index
        self._file = file
        self._part = part
        self._spec = spec

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def read(self) -> AsyncIterator[Any]:
        shape = SHAPES[self._file.shape]
        steps = steps_of(self._spec)
        seed = self._spec.seed.to_bytes(16, "little")
        records = FILES[self._file.file_type].records(self._file.uri, self._part.names.theirs(shape.columns))
        while batch := list(islice(records, _BATCH_ROWS)):
            rows = canonical(batch, self._index, shape, self._part.system_prompt, self._part.names, seed, steps)
            yield daft.recordbatch.RecordBatch.from_arrow_record_batches([rows], CANONICAL)


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
