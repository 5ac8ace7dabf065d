"""Which files a path of the job file means, and what they hold. Nothing is opened before `check_readable` agreed.

A folder stands for all its files of one type, by name; sub-folders and names that start with `.` or `_` are left out.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import fsspec

from luthier.artifacts import join, local_path
from workers.data.dataset import SplitName
from workers.data.files import FILE_TYPES, FILES
from workers.data.parts import Part
from workers.data.shapes import SHAPES, Names, detect
from workers.failures import ConfigError, DataError

CheckReadable = Callable[[str, str], None]
"""`(path, what it is for)`; raises ConfigError for a path outside the places that may be read."""
_AS_THEY_ARE = Names()


@dataclass(frozen=True)
class SourceFile:
    """One file with rows."""

    split: SplitName
    """Where its rows go; `train` also stands for rows that are still to be split."""
    uri: str
    name: str
    """Of the file, after that of its source and a slash where that has one."""
    file_type: str
    """Key of `FILES`."""
    num_bytes: int
    sha256: str = ""
    """Hex digest of the bytes."""
    columns: tuple[str, ...] = ()
    """As found; of a JSON Lines file, in its first rows."""
    shape: str = ""
    """Key of `SHAPES`."""


def find_sources(part: Part, check_readable: CheckReadable, formats: Sequence[str]) -> list[SourceFile]:
    """All files of a part in reading order, described; their rows have one of `formats`.

    Raises:
        ConfigError: a path may not be read.
        DataError: a file is missing, empty, or not of a known type and shape.
    """
    keys = {"train": "path", "validation": "validation_path", "test": "test_path"}
    found = []
    for split, path in part.paths.items():
        if path:
            key = f"{part.key}.{keys[split]}"
            for file in find_files(path, key, split, part.file_type, check_readable):
                named = replace(file, name=f"{part.name}/{file.name}") if part.name else file
                found.append(describe(named, part.format, key, formats, part.names))
    return found


def find_files(
    path: str, key: str, split: SplitName, file_type: str, check_readable: CheckReadable
) -> list[SourceFile]:
    """The files behind `path`, which is the value of `key` in the job file, sorted by name.

    Raises:
        ConfigError: the path may not be read, or nothing here can read its protocol.
        DataError: there is no such file, it is empty, or its type cannot be told.
    """
    local = local_path(path)
    path = path if local is None else str(local)
    check_readable(path, key)
    try:
        filesystem, root = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{key} {path!r} cannot be opened: {error}") from error
    try:
        info = filesystem.info(root)
        entries = filesystem.ls(root, detail=True) if info["type"] == "directory" else None
    except FileNotFoundError as error:
        raise DataError(f"{key}: {path} does not exist; give an existing file or folder") from error
    except PermissionError as error:
        raise DataError(f"{key}: {path} may not be read by this worker: permission denied") from error
    if entries is None:
        found = [_source_file(path, info, split, file_type)]
    else:
        found = _in_folder(path, entries, split, file_type)
        if not found:
            raise DataError(f"{key}: folder {path} holds no file that ends in {_suffixes(file_type)}")
        for file in found:
            check_readable(file.uri, key)
    for file in found:
        if file.num_bytes == 0:
            raise DataError(f"{key}: {file.uri} is empty; expected rows")
    return found


def describe(
    file: SourceFile, row_format: str, key: str, allowed: Sequence[str], names: Names = _AS_THEY_ARE
) -> SourceFile:
    """`file` with its digest, columns and shape, which is `row_format`, or for `auto` one of `allowed`.

    `names` says what the file calls the columns of a shape.

    Raises:
        DataError: it cannot be read, or its columns are not those of one shape.
    """
    try:
        with fsspec.open(file.uri, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        columns = tuple(FILES[file.file_type].columns(file.uri))
    except PermissionError as error:
        raise DataError(f"{key}: {file.uri} may not be read by this worker: permission denied") from error
    try:
        shape = detect(names.ours(columns), allowed) if row_format == "auto" else row_format
    except ValueError as error:
        raise DataError(f"{key}: {file.uri}: {error}") from error
    missing = [name for name in SHAPES[shape].required if name not in names.ours(columns)]
    if missing:
        raise DataError(
            f"{key}: {file.uri}: columns found: {', '.join(columns) or 'none'}; data.format {shape} expects "
            f"{SHAPES[shape].expected}"
        )
    return replace(file, sha256=digest, columns=columns, shape=shape)


def _in_folder(path: str, entries: Sequence[dict[str, Any]], split: SplitName, file_type: str) -> list[SourceFile]:
    suffixes = FILE_TYPES if file_type == "auto" else {s: t for s, t in FILE_TYPES.items() if t == file_type}
    found = []
    for entry in sorted(entries, key=lambda entry: str(entry["name"])):
        name = PurePosixPath(entry["name"]).name
        if entry["type"] != "directory" and name[0] not in "._" and PurePosixPath(name).suffix.lower() in suffixes:
            found.append(_source_file(join(path, name), entry, split, file_type))
    types = sorted({file.file_type for file in found})
    if len(types) > 1:
        raise DataError(f"{path} holds files of several types ({', '.join(types)}); set data.file_type to one of them")
    return found


def _source_file(uri: str, info: dict[str, Any], split: SplitName, file_type: str) -> SourceFile:
    name = PurePosixPath(uri).name
    if file_type == "auto":
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in FILE_TYPES:
            raise DataError(
                f"{uri}: cannot tell the type from the name; expected one that ends in {_suffixes('auto')}, or set "
                f"data.file_type to one of {', '.join(FILES)}"
            )
        file_type = FILE_TYPES[suffix]
    size = info.get("size")
    return SourceFile(split=split, uri=uri, name=name, file_type=file_type, num_bytes=-1 if size is None else int(size))


def _suffixes(file_type: str) -> str:
    return ", ".join(suffix for suffix, kind in FILE_TYPES.items() if file_type in ("auto", kind))
