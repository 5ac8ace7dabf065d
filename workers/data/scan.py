"""Source files as canonical rows, in the order of the files and their lines.

A task reads, parses, checks and mends in one go, so that a fault is known with its place and nothing has to be read
again to find it. Large files that can be cut are read by several processes, shard by shard.

What cannot be cut, or is too small to be worth a process, is a scan of Daft with one task: Daft starts all that there
are, whichever comes first, and keeps what they make until its turn has come, which would be the whole of the data. For
the same reason the task lets the others go on after every batch: reading that never waits is not held back by anything.
On a cluster there is a task for every file, and for every shard of one that has shards.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from luthier.spec import DataSpec
from workers.data.canonical import CANONICAL, canonical
from workers.data.dedup import Benchmark, duplicate_steps
from workers.data.engine import daft, is_distributed, num_side_by_side
from workers.data.engine.carried import carry
from workers.data.engine.fan_out import fan_out
from workers.data.files import FILES, Shard
from workers.data.parts import Part
from workers.data.shapes import SHAPES
from workers.data.sources import SourceFile
from workers.data.splits.known_classes import KnownClasses
from workers.data.splits.split_keys import key_columns
from workers.data.steps import RowStep, steps_of
from workers.failures import StageError

_BATCH_ROWS = 1000
_SHARDS_PER_PROCESS = 2
"""Fewer are not worth another process."""
_PAUSE_SECONDS = 0.001
"""A fraction of what a batch takes; none at all would leave the loop's order to chance."""


@dataclass(frozen=True)
class Scan:
    """How the files of a part are read."""

    files: Sequence[SourceFile]
    first: int
    """Index of the first of them among all sources."""
    part: Part
    spec: DataSpec
    benchmark: Benchmark | None
    """What no row may overlap with."""

    def __call__(self, place: dict[str, Any]) -> pa.Table:
        """The rows of a `file` from its line `first_row` on, which are the bytes from `start` to `stop`."""
        shard = Shard(place["start"], place["stop"], place["first_row"])
        return pa.Table.from_batches(self.batches(place["file"], shard), CANONICAL)

    def batches(self, number: int, shard: Shard | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of a file, or of a shard of it, in batches of schema `CANONICAL`; the last may carry a failure."""
        try:
            yield from self._batches(number, shard)
        except StageError as error:
            yield carry(error, self.first + number, CANONICAL)

    @cached_property
    def _steps(self) -> list[RowStep]:
        """Made where the rows are read, and once there."""
        known = KnownClasses(self.part.classes)
        return [known, *steps_of(self.spec), *duplicate_steps(self.spec, self.benchmark)]

    def _batches(self, number: int, shard: Shard | None) -> Iterator[pa.RecordBatch]:
        file, part = self.files[number], self.part
        shape, reader = SHAPES[file.shape], FILES[file.file_type]
        split, curriculum = (self.spec.split, self.spec.curriculum) if file.split == "train" else (None, None)
        seed = (self.spec.seed % (1 << 128)).to_bytes(16, "little")
        wanted = [*part.names.theirs(shape.columns), *key_columns(self.spec)]
        if curriculum is not None:
            wanted.append(curriculum.difficulty_by)
        if shard is not None and reader.shard is not None:
            records = reader.shard(file.path, shard)
        else:
            records = reader.records(file.path, wanted)
        while batch := list(islice(records, _BATCH_ROWS)):
            yield canonical(
                batch,
                self.first + number,
                shape,
                part.system_prompt,
                part.names,
                seed,
                self._steps,
                split,
                curriculum,
                self.spec.repair,
            )


def read_rows(
    files: Sequence[SourceFile], first: int, part: Part, spec: DataSpec, benchmark: Benchmark | None
) -> Iterator[pa.RecordBatch]:
    """All rows of the files in batches of schema `CANONICAL`; arguments as in `Scan`."""
    for is_cut, numbers in groupby(range(len(files)), lambda number: bool(files[number].shards)):
        # Of each group its own, because the steps that one has made do not travel.
        scan = Scan(files, first, part, spec, benchmark)
        pieces = [(number, shard) for number in numbers for shard in files[number].shards or (None,)]
        num_processes = min(num_side_by_side(), len(pieces) // _SHARDS_PER_PROCESS)
        if is_distributed():
            yield from _Source([_Task(scan, [piece]) for piece in pieces]).read().to_arrow_iter()
        elif is_cut and num_processes > 1:
            places = [{"file": number, **shard._asdict()} for number, shard in pieces if shard is not None]
            yield from fan_out(pa.Table.from_pylist(places), scan, CANONICAL, num_processes)
        else:
            yield from _Source([_Task(scan, pieces)]).read().to_arrow_iter()


class _Task(daft.io.source.DataSourceTask):
    """Reads files, or shards of them, one after the other."""

    def __init__(self, scan: Scan, pieces: Sequence[tuple[int, Shard | None]]) -> None:
        self._scan = scan
        self._pieces = pieces

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def read(self) -> AsyncIterator[Any]:
        for number, shard in self._pieces:
            for batch in self._scan.batches(number, shard):
                yield daft.recordbatch.RecordBatch.from_arrow_record_batches([batch], CANONICAL)
                await asyncio.sleep(_PAUSE_SECONDS)


class _Source(daft.io.source.DataSource):
    """Daft's view of the source files."""

    def __init__(self, tasks: Sequence[_Task]) -> None:
        self._tasks = tasks

    @property
    def name(self) -> str:
        return "luthier source files"

    @property
    def schema(self) -> Any:
        return daft.Schema.from_pyarrow_schema(CANONICAL)

    async def get_tasks(self, pushdowns: Any) -> AsyncIterator[_Task]:
        for task in self._tasks:
            yield task
