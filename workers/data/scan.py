"""Source files as a lazy Daft table of canonical rows, in order.

A task reads, parses, checks and mends in one go, so that a fault is known with its place and nothing has to be read
again to find it. There is one task: Daft starts all that there are, whichever comes first, and keeps what they make
until its turn has come, which would be the whole of the data. For the same reason the task lets the others go on after
every batch: reading that never waits is not held back by anything.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from luthier.spec import DataSpec
from workers.data.canonical import CANONICAL, canonical
from workers.data.carried import carry
from workers.data.dedup import Benchmark, duplicate_steps
from workers.data.engine import daft
from workers.data.files import FILES
from workers.data.known_classes import KnownClasses
from workers.data.parts import Part
from workers.data.shapes import SHAPES
from workers.data.sources import SourceFile
from workers.data.split_keys import key_columns
from workers.data.steps import RowStep, steps_of
from workers.failures import StageError

_BATCH_ROWS = 1000
_PAUSE_SECONDS = 0.001
"""A fraction of what a batch takes; none at all would leave the loop's order to chance."""


def read_rows(files: Sequence[SourceFile], first: int, part: Part, spec: DataSpec, benchmark: Benchmark | None) -> Any:
    """A lazy Daft table of schema `CANONICAL`, in the order of the files and their rows.

    Args:
        files: of `part`.
        first: their first index among all sources.
        benchmark: what no row may overlap with.
    """
    return _Scan(_ScanFiles(dict(enumerate(files, first)), part, spec, benchmark)).read()


class _ScanFiles(daft.io.source.DataSourceTask):
    """Reads files, one after the other."""

    def __init__(
        self, files: Mapping[int, SourceFile], part: Part, spec: DataSpec, benchmark: Benchmark | None
    ) -> None:
        self._files = files
        self._part = part
        self._spec = spec
        self._benchmark = benchmark

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def read(self) -> AsyncIterator[Any]:
        for batch in self._batches_or_failure():
            yield daft.recordbatch.RecordBatch.from_arrow_record_batches([batch], CANONICAL)
            await asyncio.sleep(_PAUSE_SECONDS)

    def _batches_or_failure(self) -> Iterator[pa.RecordBatch]:
        index = next(iter(self._files))
        try:
            known = KnownClasses(self._part.classes)
            steps = [known, *steps_of(self._spec), *duplicate_steps(self._spec, self._benchmark)]
            for index, file in self._files.items():
                yield from self._batches(index, file, steps)
        except StageError as error:
            yield carry(error, index, CANONICAL)

    def _batches(self, index: int, file: SourceFile, steps: Sequence[RowStep]) -> Iterator[pa.RecordBatch]:
        shape = SHAPES[file.shape]
        split = self._spec.split if file.split == "train" else None
        seed = self._spec.seed.to_bytes(16, "little")
        prompt, names = self._part.system_prompt, self._part.names
        records = FILES[file.file_type].records(file.path, [*names.theirs(shape.columns), *key_columns(self._spec)])
        while batch := list(islice(records, _BATCH_ROWS)):
            yield canonical(batch, index, shape, prompt, names, seed, steps, split, self._spec.repair)


class _Scan(daft.io.source.DataSource):
    """Daft's view of the source files."""

    def __init__(self, task: _ScanFiles) -> None:
        self._task = task

    @property
    def name(self) -> str:
        return "luthier source files"

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def get_tasks(self, pushdowns: Any) -> AsyncIterator[_ScanFiles]:
        yield self._task
