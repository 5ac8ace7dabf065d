"""How much memory a Parquet file asks for, read from the file itself before any page of it is unpacked.

Arrow unpacks a page as a whole, into as many bytes as the header before the page says, and looks at the footer's sums
for none of it. So both are read: `FileMetaData` at the end, and the `PageHeader` before each page, by the numbers of
their fields in the Parquet format (parquet.thrift).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from workers.data.files.compact import CompactReader, NotCompactError, Wanted

Holds = Literal["dictionary", "references", "prefixes", "values"]
"""What a page has: a dictionary; places in it; values that begin as the one before does (DELTA_BYTE_ARRAY), none of
them longer than the page; or values."""

_END = struct.Struct("<I4s")
"""Of the file: bytes of the footer, magic."""
_ROW_GROUPS = 4
"""Of `FileMetaData`."""
_TYPE, _NUM_VALUES, _UNPACKED, _PACKED, _DATA_PAGE, _DICTIONARY_PAGE = 1, 5, 6, 7, 9, 11
_ROW_GROUP: Wanted = {
    1: {3: dict.fromkeys((_TYPE, _NUM_VALUES, _UNPACKED, _PACKED, _DATA_PAGE, _DICTIONARY_PAGE))},
    2: None,
    3: None,
}
"""Its columns with their `ColumnMetaData`, its bytes, its rows."""
_PAGE: Wanted = {2: None, 3: None, 5: {1: None, 2: None}, 8: {1: None, 4: None}}
"""Its bytes unpacked and packed; number and encoding of the values in a data page, and in one of version 2."""
_HOLDS: dict[int, Holds] = {2: "references", 7: "prefixes", 8: "references"}
"""By `Encoding`, where it is not values."""
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 8, 4: 4, 5: 8}
"""Bytes of a value in memory by `Type`: BOOLEAN, INT32, INT64, INT96 (a timestamp), FLOAT, DOUBLE."""
_OFFSET_BYTES = 4
"""Of any other value, at least."""
_MAX_SIZE = 1 << 48
_MAX_HEADER_BYTES = 1 << 16
"""Of a page, without the texts in its statistics; most are 40."""


@dataclass(frozen=True)
class Chunk:
    """A column of a row group."""

    start: int
    """Where its first page is."""
    num_packed: int
    """Bytes of its pages, with their headers."""
    num_unpacked: int
    """The same without compression, by the footer."""
    num_values: int
    type: int

    @property
    def num_bytes(self) -> int:
        """At least what it takes in memory, its dictionary not written out."""
        return max(self.num_unpacked, self.num_values * _WIDTHS.get(self.type, _OFFSET_BYTES))


@dataclass(frozen=True)
class Group:
    """A row group."""

    chunks: list[Chunk]
    num_rows: int

    @property
    def num_bytes(self) -> int:
        """At least what it takes in memory."""
        return sum(chunk.num_bytes for chunk in self.chunks)


class Page(NamedTuple):
    """What a header says of a page."""

    packed: int
    """Its bytes."""
    unpacked: int
    """Its bytes in memory."""
    holds: Holds


def groups(path: str) -> Iterator[Group]:
    """The row groups that the footer of the file names.

    Raises:
        pa.ArrowInvalid: it is damaged.
    """
    with open(path, "rb") as stream:
        end = stream.seek(-_END.size, 2)
        num_bytes, _ = _END.unpack(stream.read())
        stream.seek(max(0, end - num_bytes))
        reader = CompactReader(BytesIO(stream.read(num_bytes)), num_bytes)
    try:
        for number, kind in reader.fields():
            if number == _ROW_GROUPS:
                yield from map(_group, reader.structs(kind, _ROW_GROUP))
            else:
                reader.skip(kind)
    except NotCompactError as error:
        raise pa.ArrowInvalid(f"its footer is damaged: {error}; copy the file again") from error


def pages(path: str, chunk: Chunk) -> Iterator[Page]:
    """Every page of a column of a row group that Arrow would read, in their order.

    Raises:
        pa.ArrowInvalid: what stands before a page is no header.
    """
    num_values = 0
    with open(path, "rb") as stream:
        stream.seek(chunk.start)
        try:
            while num_values < chunk.num_values and stream.tell() < chunk.start + chunk.num_packed:
                header = CompactReader(stream, _MAX_HEADER_BYTES).struct(_PAGE)
                page = _page(header)
                yield page
                num_values += 0 if page.holds == "dictionary" else _size(header.get(5, header.get(8, {})), 1)
                stream.seek(page.packed, 1)
        except NotCompactError as error:
            raise pa.ArrowInvalid(
                f"what stands before a page of it is no header of one: {error}; copy the file again"
            ) from error


def _group(found: dict[int, Any]) -> Group:
    return Group([_chunk(column.get(3, {})) for column in found.get(1, ())], _size(found, 3))


def _chunk(found: dict[int, Any]) -> Chunk:
    first = _size(found, _DATA_PAGE)
    start = min(first, found.get(_DICTIONARY_PAGE) or first)
    if start < 0:
        raise NotCompactError("a place before the file")
    return Chunk(start, _size(found, _PACKED), _size(found, _UNPACKED), _size(found, _NUM_VALUES), found.get(_TYPE, -1))


def _page(header: dict[int, Any]) -> Page:
    holds: Holds = "dictionary"
    for kind, encoding in ((5, 2), (8, 4)):
        if kind in header:
            holds = _HOLDS.get(_size(header[kind], encoding), "values")
    return Page(_size(header, 3), _size(header, 2), holds)


def _size(found: dict[int, Any], field: int) -> int:
    size: int | None = found.get(field)
    if size is None or not 0 <= size < _MAX_SIZE:
        raise NotCompactError("a size is missing, or none")
    return size
