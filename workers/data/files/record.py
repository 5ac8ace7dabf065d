"""One record of a file, as every reader yields it."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import fsspec

MAX_RECORD_BYTES = 1 << 26
"""A record longer than 64 MiB is a fault: a file without line ends, or a quote that is never closed."""
_BUFFER_BYTES = 1 << 20


class Record(NamedTuple):
    """JSON text of one object, or why there is none."""

    row: int
    """1-based line on which it starts; in a Parquet file the 1-based row."""
    json_text: str | None
    reason: str | None = None
    """One of `workers.data.problems`; after BROKEN_FILE nothing more follows."""
    detail: str | None = None


@dataclass(frozen=True)
class FileReader:
    """A file type."""

    columns: Callable[[str], Sequence[str]]
    """Column names of the file at a URI. Raises DataError when it is not a file of this type."""
    records: Callable[[str, Sequence[str]], Iterator[Record]]
    """`(uri, wanted columns)`: the file's records in order, read as they are asked for."""


@contextmanager
def open_lines(uri: str) -> Iterator[io.BufferedReader]:
    """The bytes of the file at `uri`, without a UTF-8 byte order mark."""
    with fsspec.open(uri, "rb") as raw, io.BufferedReader(raw, _BUFFER_BYTES) as stream:
        if stream.peek(3)[:3] == b"\xef\xbb\xbf":
            stream.read(3)
        yield stream
