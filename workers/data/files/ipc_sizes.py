"""How much memory the compressed batches of an Arrow file ask for, read from the file itself before any is unpacked.

Arrow unpacks a batch as a whole, and asks for as much memory as each of its buffers says in its first eight bytes.
Where those are is said by the batch's metadata, a FlatBuffers table (`Message.fbs` and `File.fbs` of the Arrow format,
by the numbers of their fields). Arrow's own reader shows them to nobody.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
"""`MessageHeader`"""
_BLOCK = struct.Struct("<qi4xq")
"""`Block`: offset, bytes of metadata, bytes of body."""
_BUFFER = struct.Struct("<qq")
"""`Buffer`: place in the body, bytes."""
_LENGTH = struct.Struct("<q")
"""Of a buffer, unpacked; less than zero: it is not compressed."""
_FOOTER_END = struct.Struct("<i6s")


class BatchSize(NamedTuple):
    """Of one batch, in bytes."""

    packed: int
    unpacked: int
    """0: it is not compressed."""


def batch_sizes(path: str, *, is_file: bool) -> Iterator[BatchSize]:
    """Of every batch, also of those that hold dictionaries.

    Args:
        path: of an Arrow IPC file or stream.
        is_file: whether it is a file, whose footer says where the batches are.

    Raises:
        pa.ArrowInvalid: a place that it names is not in it.
    """
    with pa.memory_map(path) as stream:
        try:
            for message in _of_file(stream) if is_file else pa.ipc.MessageReader.open_stream(stream):
                yield _size(message)
        except (struct.error, IndexError, EOFError) as error:
            raise pa.ArrowInvalid(f"its metadata are damaged: {error}; copy the file again") from error


def _of_file(stream: pa.MemoryMappedFile) -> Iterator[pa.Message]:
    end = stream.size() - _FOOTER_END.size
    num_bytes, _ = _FOOTER_END.unpack(stream.read_at(_FOOTER_END.size, end))
    footer = _Table.root(stream.read_at(num_bytes, end - num_bytes))
    for field in (2, 3):
        for offset, _, _ in footer.structs(field, _BLOCK):
            stream.seek(offset)
            yield pa.ipc.read_message(stream)


def _size(message: pa.Message) -> BatchSize:
    head = _Table.root(message.metadata.to_pybytes())
    kind = head.byte(1)
    if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
        return BatchSize(0, 0)
    batch = head.table(2)
    batch = batch.table(1) if batch and kind == _DICTIONARY_BATCH else batch
    body = message.body
    if batch is None or batch.table(3) is None or body is None:
        return BatchSize(body.size if body is not None else 0, 0)
    view = memoryview(body)
    asked = (_LENGTH.unpack_from(view, place)[0] for place, size in batch.structs(2, _BUFFER) if size)
    return BatchSize(len(view), sum(max(0, length) for length in asked))


class _Table:
    """A table of a FlatBuffers message: fields by number, through a table of where they are.

    https://flatbuffers.dev/internals
    """

    def __init__(self, raw: bytes, start: int) -> None:
        self._raw = raw
        self._start = start

    @classmethod
    def root(cls, raw: bytes) -> "_Table":
        return cls(raw, struct.unpack_from("<I", raw)[0])

    def byte(self, field: int) -> int:
        place = self._place(field)
        return self._raw[place] if place else 0

    def table(self, field: int) -> "_Table | None":
        place = self._place(field)
        return _Table(self._raw, self._target(place)) if place else None

    def structs(self, field: int, form: struct.Struct) -> Iterator[tuple[int, ...]]:
        """The vector of equal structures that a field holds."""
        place = self._place(field)
        if not place:
            return
        start = self._target(place)
        (num_items,) = struct.unpack_from("<I", self._raw, start)
        for number in range(num_items):
            yield form.unpack_from(self._raw, start + 4 + number * form.size)

    def _target(self, place: int) -> int:
        target: int = place + struct.unpack_from("<I", self._raw, place)[0]
        return target

    def _place(self, field: int) -> int:
        """Where a field is; 0: it has its default."""
        fields = self._start - struct.unpack_from("<i", self._raw, self._start)[0]
        (num_bytes,) = struct.unpack_from("<H", self._raw, fields)
        place = 4 + 2 * field
        if place >= num_bytes:
            return 0
        (offset,) = struct.unpack_from("<H", self._raw, fields + place)
        return self._start + offset if offset else 0
