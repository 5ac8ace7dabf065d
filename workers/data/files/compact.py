"""Structures in Thrift's compact protocol, in which Parquet says what is in a file: only the fields that are asked for.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md

Arrow's own reader of them ends the process when a number in one is wrong, or shows it to nobody.
"""

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, TypeAlias

Wanted: TypeAlias = Mapping[int, "Wanted | None"]
"""Fields by their number: a whole number (None), or a structure or list of structures with fields of its own."""

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12
"""Types of values. Parquet has no maps."""
_MANY = 15
"""In the place of a list's length: it is a number of its own."""
_MAX_DEPTH = 12
_MAX_VARINT_BYTES = 10
_MAX_TEXT_BYTES = 1 << 31


class NotCompactError(ValueError):
    """The bytes are no such structure."""


class CompactReader:
    """Reads structures from where the stream is."""

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        """At most `max_bytes` are looked at; a text that is passed over counts as one."""
        self._stream = stream
        self._num_left = max_bytes

    def struct(self, wanted: Wanted, depth: int = _MAX_DEPTH) -> dict[int, Any]:
        """The wanted fields of a structure that are there and of the type that is asked for, by their numbers.

        Raises:
            NotCompactError: it is none.
        """
        found = {}
        for number, kind in self.fields():
            value = self._value(kind, number in wanted, wanted.get(number), depth)
            if value is not None:
                found[number] = value
        return found

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a structure; whoever asks for the next one has read the value.

        Raises:
            NotCompactError: it is none.
        """
        number = 0
        while (head := self._byte()) != _STOP:
            number = number + (head >> 4) if head >> 4 else self._signed()
            yield number, head & 15

    def structs(self, kind: int, wanted: Wanted, depth: int = _MAX_DEPTH) -> Iterator[dict[int, Any]]:
        """The structures of a list, one by one.

        Raises:
            NotCompactError: it is none.
        """
        kind, length = self._list() if kind in (_LIST, _SET) else (_STOP, 0)
        if kind != _STRUCT and length:
            raise NotCompactError("not a list of structures")
        for _ in range(length):
            yield self.struct(wanted, depth - 1)

    def skip(self, kind: int, depth: int = _MAX_DEPTH) -> None:
        """Passes over a value.

        Raises:
            NotCompactError: it is of no type that there is.
        """
        if depth == 0:
            raise NotCompactError("structures within structures within structures")
        if _I16 <= kind <= _I64:
            self._varint()
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth - 1)
        elif kind in (_LIST, _SET):
            inner, length = self._list()
            for _ in range(length):
                self.skip(_BYTE if inner in (_TRUE, _FALSE) else inner, depth - 1)
        elif kind in (_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY):
            num_bytes = self._varint() if kind == _BINARY else {_BYTE: 1, _DOUBLE: 8}.get(kind, 0)
            if num_bytes > _MAX_TEXT_BYTES:
                raise NotCompactError("a text longer than any")
            self._count(1)
            self._stream.seek(num_bytes, 1)
        else:
            raise NotCompactError(f"a value of type {kind}")

    def _value(self, kind: int, is_wanted: bool, wanted: Wanted | None, depth: int) -> Any:
        if depth == 0:
            raise NotCompactError("structures within structures within structures")
        if is_wanted and wanted is None and _I16 <= kind <= _I64:
            return self._signed()
        if wanted is not None and kind == _STRUCT:
            return self.struct(wanted, depth - 1)
        if wanted is not None and kind in (_LIST, _SET):
            return list(self.structs(kind, wanted, depth))
        self.skip(kind, depth)
        return None

    def _list(self) -> tuple[int, int]:
        """Type and number of its elements."""
        head = self._byte()
        return head & 15, self._varint() if head >> 4 == _MANY else head >> 4

    def _signed(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = 0
        for place in range(_MAX_VARINT_BYTES):
            byte = self._byte()
            number |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return number
        raise NotCompactError("a number that does not end")

    def _byte(self) -> int:
        self._count(1)
        byte = self._stream.read(1)
        if not byte:
            raise NotCompactError("it breaks off")
        return byte[0]

    def _count(self, num_bytes: int) -> None:
        self._num_left -= num_bytes
        if self._num_left < 0:
            raise NotCompactError("longer than any")
