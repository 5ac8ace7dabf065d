"""What the machine did to a stage, recognised anywhere in the chain of an exception.

Python's own errors carry an error number. Libraries written in Rust or C++ (safetensors, Daft, Arrow, torch) only quote
it, or its words, in the text of an error of their own.
"""

import errno
import os
import re
from collections.abc import Iterator

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""There is no room left."""
LOST = frozenset({errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EROFS, errno.ENOTCONN})
"""The disk, or the network file system, is not there any more or lets nobody write."""
_NUMBER = re.compile(r"\b(?:os error|errno) (\d+)\b", re.IGNORECASE)
_NO_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "cublas_status_alloc_failed",
)


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, what it was raised from or while handling, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def says(error: BaseException, numbers: frozenset[int]) -> bool:
    """Whether this one error, not those behind it, is about one of the error `numbers`."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in numbers
    text = str(error)
    found = _NUMBER.search(text)
    return int(found[1]) in numbers if found else any(os.strerror(number) in text for number in numbers)


def lacks_memory(error: BaseException) -> bool:
    """Whether this one error says that an allocation failed, on the host or on an accelerator."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def place_of(error: BaseException) -> str | None:
    """The path that an error of the operating system names."""
    name = getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes) else None
