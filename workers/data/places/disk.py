"""Files on the worker's disks: one, a folder of them, a pattern, or a dataset that `datasets` saved.

Links are followed only to where the worker may read, and what is opened is where they lead. In a folder sub-folders
are left out, and below a pattern's `**` those that are links; names that start with `.` or `_` are left out in both.
"""

import fnmatch
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from workers.data.dataset import SplitName
from workers.data.places import saved
from workers.data.places.downloads import Downloads
from workers.data.places.listing import Listed, Listing, is_hidden, split_pattern
from workers.data.places.place import CheckReadable
from workers.data.places.remote import Remote
from workers.failures import DataError


def find(path: str, key: str, check_readable: CheckReadable, remote: Remote) -> Listing:
    """The plain files behind a path.

    Raises:
        ConfigError: it, or a file of it, may not be read.
        DataError: there is nothing, or something that is no plain file.
    """
    try:
        base, pattern = split_pattern(path)
        if pattern and not Path(path).exists():
            check_readable(base or ".", key)
            return Listing(_fitting(Path(base or "."), pattern, key, check_readable), "pattern")
        check_readable(path, key)
        place = Path(path)
        if not place.is_dir():
            return Listing([_listed(place, place.name, key)], "name")
        if saved.is_saved(place):
            found = [(one.path, one.name, one.split) for one in saved.files_of(place, key)]
            return Listing(_checked(found, key, check_readable), "dataset")
        plain = [(one, one.name, None) for one in place.iterdir() if one.is_file() and not is_hidden(one.name)]
        return Listing(_checked(plain, key, check_readable), "folder")
    except FileNotFoundError as error:
        raise DataError(f"{key}: {path} does not exist; give an existing file or folder") from error
    except PermissionError as error:
        raise DataError(f"{key}: {path} may not be read by this worker: permission denied") from error


def _fitting(base: Path, pattern: str, key: str, check_readable: CheckReadable) -> list[Listed]:
    found = {path: path.relative_to(base).as_posix() for path in _walk(base, pattern.split("/"))}
    if not found:
        raise DataError(f"{key}: nothing fits {base / pattern}; give a pattern of existing files")
    return _checked([(path, name, None) for path, name in found.items()], key, check_readable)


def _walk(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """Plain files whose path below `folder` fits the patterns, part by part; some of them twice."""
    first, *rest = patterns
    if first == "**":
        yield from _walk(folder, rest or ["*"])
        for child in folder.iterdir():
            if child.is_dir() and not child.is_symlink() and not is_hidden(child.name):
                yield from _walk(child, patterns)
        return
    for child in folder.iterdir():
        if fnmatch.fnmatchcase(child.name, first) and not is_hidden(child.name):
            if not rest and child.is_file():
                yield child
            elif rest and child.is_dir():
                yield from _walk(child, rest)


def _checked(
    found: Sequence[tuple[Path, str, SplitName | None]], key: str, check_readable: CheckReadable
) -> list[Listed]:
    for path, _, _ in found:
        check_readable(str(path), key)
    return [_listed(path, name, key, split) for path, name, split in sorted(found, key=lambda one: one[1])]


def _listed(path: Path, name: str, key: str, split: SplitName | None = None) -> Listed:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{key}: {path} is no plain file; give a file or a folder")
    real = path.resolve()

    def fetch(downloads: Downloads) -> Path:
        return real

    return Listed(str(path), name, status.st_size, fetch, split)
