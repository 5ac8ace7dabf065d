"""Source files as a lazy Daft table of canonical rows, one scan task per file, in order.

A task reads, parses, checks and mends in one go, so that a fault is known with its place and nothing has to be read
again to find it, and so that the scan is the slowest part of its plan: Daft does not hold back a source that is faster
than what follows, and would take the whole file into memory.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from luthier.spec import DataSpec
from workers.data.canonical import CANONICAL, canonical
from workers.data.carried import carry
from workers.data.dedup import Benchmark, duplicate_steps
from workers.data.engine import daft
from workers.data.files import FILES
from workers.data.parts import Part
from workers.data.shapes import SHAPES
from workers.data.sources import SourceFile
from workers.data.split_keys import key_columns
from workers.data.steps import steps_of
from workers.failures import StageError

_BATCH_ROWS = 1000


def read_rows(files: Sequence[SourceFile], first: int, part: Part, spec: DataSpec, benchmark: Benchmark | None) -> Any:
    """A lazy Daft table of schema `CANONICAL`, in the order of the files and their rows.

    Args:
        files: of `part`.
        first: their first index among all sources.
        benchmark: what no row may overlap with.
    """
    return _Scan([_ScanFile(index, file, part, spec, benchmark) for index, file in enumerate(files, first)]).read()


class _ScanFile(daft.io.source.DataSourceTask):
    """Reads one file."""

    def __init__(self, index: int, file: SourceFile, part: Part, spec: DataSpec, benchmark: Benchmark | None) -> None:
        self._index = index
        self._file = file
        self._part = part
        self._spec = spec
        self._benchmark = benchmark

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def read(self) -> AsyncIterator[Any]:
        for batch in self._batches_or_failure():
            yield daft.recordbatch.RecordBatch.from_arrow_record_batches([batch], CANONICAL)

    def _batches_or_failure(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches()
        except StageError as error:
            yield carry(error, self._index, CANONICAL)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        shape = SHAPES[self._file.shape]
        steps = [*steps_of(self._spec), *duplicate_steps(self._spec, self._benchmark)]
        split = self._spec.split if self._file.split == "train" else None
        seed = self._spec.seed.to_bytes(16, "little")
        records = FILES[self._file.file_type].records(
            self._file.path, [*self._part.names.theirs(shape.columns), *key_columns(self._spec)]
        )
        while batch := list(islice(records, _BATCH_ROWS)):
            prompt, names = self._part.system_prompt, self._part.names
            yield canonical(batch, self._index, shape, prompt, names, seed, steps, split, self._spec.repair)


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
