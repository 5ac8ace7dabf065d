"""Damage as a failing disk does it: one bit of one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def flip(path: Path) -> None:
    """Flips one bit in the middle of the file, in place; its size and name stay."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """The file has one bit flipped, and is as it was afterwards."""
    flip(path)
    try:
        yield
    finally:
        flip(path)


def files_of(folder: Path) -> list[Path]:
    """Every file below `folder` that has a bit to flip."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
