"""One record of a file, as every reader yields it, and what a reader is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from workers.data.problems import Unit

MAX_RECORD_BYTES = 1 << 26
"""A record longer than 64 MiB is a fault: a file without line ends, or a quote that is never closed."""


class Record(NamedTuple):
    """JSON text of one object, or why there is none."""

    row: int
    """1-based: the line on which it starts or the number of the record, as `FileReader.unit` says."""
    json_text: str | None
    reason: str | None = None
    """One of `workers.data.problems`; after BROKEN_FILE nothing more follows."""
    detail: str | None = None


class Shard(NamedTuple):
    """A run of whole lines of a file, for a task of its own."""

    start: int
    """Its first byte."""
    stop: int
    """The byte after its last one."""
    first_row: int
    """1-based number of its first line."""


@dataclass(frozen=True)
class FileReader:
    """A file type."""

    columns: Callable[[str], Sequence[str]]
    """Column names of the file at a local path. Raises DataError when it is not a file of this type."""
    records: Callable[[str, Sequence[str]], Iterator[Record]]
    """`(path, wanted columns)`: the file's records in order, read as they are asked for."""
    unit: Callable[[str], Unit]
    """What the rows of the file at a local path are numbered by."""
    shard: Callable[[str, Shard], Iterator[Record]] | None = None
    """`(path, shard)`: the records of a part of a file; None: a file of this type is read by one task."""
    is_cuttable: Callable[[str], bool] = lambda path: False
    """Whether the file at a local path may be read in shards: it is lines, stored as they are."""
