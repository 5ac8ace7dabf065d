"""The bytes of a text file in big blocks: decompressed, without byte order mark, as UTF-8.

Compression and encoding are told by the first bytes, not by the name. Refused: archives, compression within
compression, and files that unpack to far more than text ever does. Nothing is unpacked onto a disk.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from workers.data.files.ratio import why_too_much
from workers.failures import DataError

BLOCK_BYTES = 1 << 20

_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    # A frame to be skipped (RFC 8878, 3.1.2), with which some tools begin.
    **{bytes([first, 0x2A, 0x4D, 0x18]): "zstd" for first in range(0x50, 0x60)},
}
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_UNPACK = "unpack it and give the folder, or give its files compressed with gzip or zstd one by one"
POINTER = b"version https://git-lfs."
"""How a file of Git LFS begins that was not fetched."""
POINTER_REMEDY = "a pointer of Git LFS and not the file that it stands for; fetch that with git lfs pull"
_FOREIGN = {
    (0, POINTER): POINTER_REMEDY,
    (0, b"PK\x03\x04"): f"a zip archive (or a document that is one); {_UNPACK}",
    (0, b"PK\x05\x06"): f"a zip archive; {_UNPACK}",
    (0, b"7z\xbc\xaf\x27\x1c"): f"a 7z archive; {_UNPACK}",
    (0, b"Rar!\x1a\x07"): f"a rar archive; {_UNPACK}",
    (257, b"ustar"): f"a tar archive; {_UNPACK}",
    (0, b"BZh"): "compressed with bzip2; compress it with gzip or zstd instead",
    (0, b"\xfd7zXZ\x00"): "compressed with xz; compress it with gzip or zstd instead",
    (0, b"PAR1"): "a Parquet file; set file_type: parquet",
    (0, b"ARROW1"): "an Arrow file; set file_type: arrow",
}
"""What is no text, by place and first bytes, and what to do about it."""


class BrokenFileError(ValueError):
    """Nothing after this place can be read; the message says why."""


class _TooMuchError(BrokenFileError):
    """It unpacks to far more than text ever does."""


def check_unpacked(path: str) -> None:
    """Unpacks a compressed file and keeps nothing of it, for bytes are counted far quicker than rows are read.

    Raises:
        DataError: it unpacks to far more than it is. Where it is damaged is told by whoever reads it.
    """
    try:
        for _ in () if is_stored(path) else _unpacked(path):
            pass
    except _TooMuchError as error:
        raise DataError(f"{path}: {error}") from error
    except BrokenFileError:
        return


def is_stored(path: str) -> bool:
    """Whether the bytes of the file are those of its text, so that it can be read from any line on."""
    with open(path, "rb") as stream:
        head = stream.read(4)
    return not any(map(head.startswith, [*_COMPRESSIONS, *_ENCODINGS]))


def blocks(path: str) -> Iterator[bytes]:
    """The text of the file at a local path, in pieces of about 1 MiB that may end anywhere.

    Raises:
        BrokenFileError: it is no text, or damaged from here on.
    """
    pieces = _unpacked(path)
    head = next(pieces, b"")
    _check_text(head)
    mark = next((mark for mark in _ENCODINGS if head.startswith(mark)), b"")
    encoding = _ENCODINGS.get(mark, "utf-8")
    if encoding == "utf-8":
        yield head[len(mark) :]
        yield from pieces
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        yield decoder.decode(head[len(mark) :]).encode()
        for piece in pieces:
            yield decoder.decode(piece).encode()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise BrokenFileError(f"no longer {encoding.upper()} text: {error.reason}; save the file as UTF-8") from error


def slice_blocks(path: str, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from `start` up to `stop` of a file that `is_stored`."""
    with open(path, "rb", buffering=0) as stream:
        stream.seek(start)
        while start < stop and (piece := stream.read(min(BLOCK_BYTES, stop - start))):
            start += len(piece)
            yield piece


def _unpacked(path: str) -> Iterator[bytes]:
    file = Path(path)
    with file.open("rb") as stream:
        head = stream.read(4)
    compression = next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), None)
    num_packed, num_bytes = file.stat().st_size, 0
    with pa.input_stream(path, compression=compression) as stream:
        while piece := _read(stream):
            if compression and not num_bytes and any(map(piece.startswith, _COMPRESSIONS)):
                raise BrokenFileError("compressed twice; unpack it once")
            num_bytes += len(piece)
            if compression and (fault := why_too_much(num_packed, num_bytes)):
                raise _TooMuchError(fault)
            yield piece


def _read(stream: pa.NativeFile) -> bytes:
    try:
        return bytes(stream.read(BLOCK_BYTES))
    except OSError as error:
        if error.errno is not None:
            raise  # the disk, not the file
        raise BrokenFileError(
            f"the compressed data are damaged or end too soon ({error}); copy the file again"
        ) from error


def _check_text(head: bytes) -> None:
    for (place, magic), what in _FOREIGN.items():
        if head[place : place + len(magic)] == magic:
            raise BrokenFileError(f"this is {what}")
    # ASCII characters of two bytes each, in either order.
    if len(head) >= 4 and (head[0] and head[2] and not head[1] and not head[3]):
        raise BrokenFileError("this looks like UTF-16 without a byte order mark; save the file as UTF-8")
    if len(head) >= 4 and (head[1] and head[3] and not head[0] and not head[2]):
        raise BrokenFileError("this looks like UTF-16 without a byte order mark; save the file as UTF-8")
