"""What a path stands for, before any file is looked into. Every place answers with a `Listing`."""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from workers.data.dataset import SplitName
from workers.data.places.downloads import Downloads

_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Listed:
    """One file."""

    uri: str
    """Where it is from, and of which revision: what reports and lineage record. Holds no secret."""
    name: str
    """What messages call it; unique in the listing."""
    num_bytes: int
    """-1 when the place does not say."""
    fetch: Callable[[Downloads], Path]
    """A local path of its bytes. Raises DataError or DependencyError when it cannot be had."""
    split: SplitName | None = None
    """The split that its dataset puts it into; None: it names none."""
    sha256: str | None = None
    """Hex digest of the bytes, when the place knows it."""


@dataclass(frozen=True)
class Listing:
    """The files behind a path, sorted by name."""

    files: Sequence[Listed]
    chosen_by: Literal["name", "folder", "pattern", "dataset"]
    """`folder` and `dataset` may hold files that are no data; `name` and `pattern` mean what they name."""


def is_hidden(relative: str) -> bool:
    """Whether a file below a folder is left out: a part of its path starts with `.` or `_`."""
    return any(part[0] in "._" for part in PurePosixPath(relative).parts)


def split_pattern(path: str) -> tuple[str, str]:
    """The folder before the first wild card, and the pattern from there on; the latter is empty without a wild card."""
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if _WILD.search(part)), len(parts))
    return "/".join(parts[:first]), "/".join(parts[first:])


def matches(relative: str, pattern: str) -> bool:
    """Whether a path below a folder fits a pattern, in which `**` stands for any folders, none too."""
    return _fits(relative.split("/"), pattern.split("/"))


def _fits(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_fits(parts[skipped:], patterns[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatch.fnmatchcase(parts[0], patterns[0]) and _fits(parts[1:], patterns[1:])
