"""Which files a path of the job file means, and what they hold. Nothing is opened before its place agreed.

Where files may be, and how they come here, is up to `places/`; how they are written, to `files/`. Of a folder or a
dataset only the files of one type are read; a pattern and a file mean what they name.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luthier.spec.data.location import without_query
from workers.data.dataset import SplitName
from workers.data.files import COMPRESSED_SUFFIXES, FILE_TYPES, FILES, Shard, Unit, type_of_name
from workers.data.lineage.digest import digest
from workers.data.parts import Part
from workers.data.places import CheckReadable, Downloads, Listed, Listing, Remote, list_files
from workers.data.shapes import SHAPES, Names, detect, shown
from workers.failures import DataError, DependencyError

__all__ = [
    "CheckReadable",
    "SourceFile",
    "check_unchanged",
    "describe",
    "find_files",
    "find_sources",
    "with_found_splits",
]

_KEYS: dict[SplitName, str] = {"train": "path", "validation": "validation_path", "test": "test_path"}
_AS_THEY_ARE = Names()
_FROM_DISK_ALONE = Downloads(Path(), Remote(), lambda message: None)


@dataclass(frozen=True)
class SourceFile:
    """One file with rows."""

    split: SplitName
    """Where its rows go; `train` also stands for rows that are still to be split."""
    uri: str
    """Where it is from, of which revision."""
    name: str
    """Of the file, after that of its source and a slash where that has one."""
    file_type: str
    """Key of `FILES`."""
    num_bytes: int
    path: str = ""
    """Where its bytes are on this machine."""
    modified_ns: int = 0
    """When those were last written to."""
    sha256: str = ""
    """Hex digest of the bytes."""
    columns: tuple[str, ...] = ()
    """As found; of JSON, in its first rows."""
    shape: str = ""
    """Key of `SHAPES`."""
    unit: Unit = "line"
    """What its rows are numbered by."""
    shards: tuple[Shard, ...] = ()
    """Parts that may be read side by side and make up the whole; none: it is read by one task."""


def find_sources(
    part: Part, check_readable: CheckReadable, formats: Sequence[str], downloads: Downloads = _FROM_DISK_ALONE
) -> list[SourceFile]:
    """All files of a part in reading order, described; their rows have one of `formats`.

    Raises:
        ConfigError: a path may not be read.
        DataError: a file is missing, empty, or not of a known type and shape.
        DependencyError: a place does not answer.
    """
    found = []
    own = [name for name, paths in part.paths.items() if paths]
    for split, paths in part.paths.items():
        key = f"{part.key}.{_KEYS[split]}"
        listed = [find_files(path, key, split, part.file_type, check_readable, downloads, own) for path in paths]
        described = [
            [describe(file, part.format, key, formats, part.names) for file in files] for files in _told_apart(listed)
        ]
        _refuse_doubled(described, key)
        found += [file for files in described for file in files]
    return [replace(file, name=f"{part.name}/{file.name}") for file in found] if part.name else found


def with_found_splits(part: Part, files: Sequence[SourceFile]) -> Part:
    """The part; of its training rows nothing is split off for a split that its dataset has."""
    there = {file.split for file in files}
    return replace(part, fractions={name: 0.0 if name in there else size for name, size in part.fractions.items()})


def find_files(
    path: str,
    key: str,
    split: SplitName,
    file_type: str,
    check_readable: CheckReadable,
    downloads: Downloads = _FROM_DISK_ALONE,
    own_paths: Sequence[SplitName] = (),
) -> list[SourceFile]:
    """The files behind `path`, which is the value of `key` in the job file, sorted by name, on this machine.

    Args:
        split: that of the path; files of `train` are of the splits that their dataset names.
        own_paths: splits that have a path of their own, which counts.

    Raises:
        ConfigError: the path may not be read, or nothing here can read its scheme.
        DataError: there is no such file, it is empty, or its type cannot be told.
        DependencyError: the place does not answer.
    """
    listing = list_files(path, key, check_readable, downloads.remote)
    shown = without_query(path)
    listed = _of_split(_of_one_type(listing, shown, key, file_type), shown, key, split, own_paths)
    return [_fetched(file, kind, own, key, downloads) for file, kind, own in listed]


def describe(
    file: SourceFile, row_format: str, key: str, allowed: Sequence[str], names: Names = _AS_THEY_ARE
) -> SourceFile:
    """`file` with its digest, columns and shape, which is `row_format`, or for `auto` one of `allowed`.

    `names` says what the file calls the columns of a shape.

    Raises:
        DataError: it cannot be read, or its columns are not those of one shape.
        DependencyError: it is not the file that its place promised.
    """
    reader = FILES[file.file_type]
    try:
        found = digest(Path(file.path))
        columns = tuple(reader.columns(file.path))
        unit = reader.unit(file.path)
        is_cuttable = reader.is_cuttable(file.path)
    except PermissionError as error:
        raise DataError(f"{key}: {file.uri} may not be read by this worker: permission denied") from error
    except DataError as error:
        # Readers know the file by where it is on this machine.
        raise DataError(f"{key}: {str(error).replace(file.path, file.uri)}") from error
    if file.sha256 and found.sha256 != file.sha256:
        raise DependencyError(f"{key}: {file.uri} was damaged on its way here; it will be fetched again")
    try:
        shape = detect(names.ours(columns), allowed) if row_format == "auto" else row_format
    except ValueError as error:
        raise DataError(f"{key}: {file.uri}: {error}") from error
    if SHAPES[shape].lacking(names.ours(columns)):
        raise DataError(
            f"{key}: {file.uri}: columns found: {shown(columns)}; data.format {shape} expects {SHAPES[shape].expected}"
        )
    shards = found.shards if is_cuttable else ()
    return replace(file, sha256=found.sha256, columns=columns, shape=shape, unit=unit, shards=shards)


def check_unchanged(files: Sequence[SourceFile]) -> None:
    """
    Raises:
        DataError: a file was written to since it was found, so its rows are not those of its digest.
    """
    for file in files:
        status = Path(file.path).stat()
        if (status.st_size, status.st_mtime_ns) != (file.num_bytes, file.modified_ns):
            raise DataError(
                f"{file.uri} changed while it was read; wait until it is complete, and submit the job again"
            )


def _told_apart(listed: Sequence[Sequence[SourceFile]]) -> list[list[SourceFile]]:
    """The files of each path; those whose name is in several of them have the number of their path in it."""
    counts = Counter(file.name for files in listed for file in files)
    return [
        [replace(file, name=f"{file.name} (path {number})") if counts[file.name] > 1 else file for file in files]
        for number, files in enumerate(listed, start=1)
    ]


def _refuse_doubled(described: Sequence[Sequence[SourceFile]], key: str) -> None:
    """
    Raises:
        DataError: two paths lead to one file, whose rows would be read twice.
    """
    seen: dict[object, int] = {}
    for number, files in enumerate(described, start=1):
        for file in files:
            # The address alone is not enough: of one on the web the query is left out.
            for mark in (file.path, (file.uri, file.sha256)):
                if seen.setdefault(mark, number) != number:
                    raise DataError(
                        f"{key}: paths {seen[mark]} and {number} both lead to {file.uri}; leave it out of one of them"
                    )


def _of_one_type(listing: Listing, path: str, key: str, file_type: str) -> list[tuple[Listed, str]]:
    """Those of the files that are data, with their type."""
    means_all = listing.chosen_by == "name" or (listing.chosen_by == "pattern" and file_type != "auto")
    if means_all and file_type != "auto":
        return [(file, file_type) for file in listing.files]
    typed = [(file, type_of_name(file.name)) for file in listing.files]
    found = [(file, kind) for file, kind in typed if kind is not None and file_type in ("auto", kind)]
    if means_all and not found:
        raise DataError(
            f"{key}: {path}: cannot tell the type from the name; expected one that ends in {_suffixes('auto')}, or set "
            f"data.file_type to one of {', '.join(FILES)}. An archive has to be unpacked first"
        )
    if not found:
        raise DataError(f"{key}: {path} holds no file that ends in {_suffixes(file_type)}")
    types = sorted({kind for _, kind in found})
    if len(types) > 1:
        raise DataError(
            f"{key}: {path} holds files of several types ({', '.join(types)}); set data.file_type to one of them"
        )
    return found


def _of_split(
    files: Sequence[tuple[Listed, str]], path: str, key: str, wanted: SplitName, own_paths: Sequence[SplitName]
) -> list[tuple[Listed, str, SplitName]]:
    """Those of the files that the path is there for, with their split."""
    splits = {file.split for file, _ in files if file.split}
    if len(splits) < 2 and (wanted != "train" or "train" not in splits):
        # Its only rows are those that are meant, whatever it calls them.
        return [(file, kind, wanted) for file, kind in files]
    if wanted not in splits:
        raise DataError(
            f"{key}: {path} has the splits {', '.join(sorted(splits))}, but no {wanted}; name the one meant"
        )
    others = [name for name in splits if name not in own_paths] if wanted == "train" else []
    return [(file, kind, file.split) for file, kind in files if file.split and file.split in (wanted, *others)]


def _fetched(file: Listed, kind: str, split: SplitName, key: str, downloads: Downloads) -> SourceFile:
    path = file.fetch(downloads)
    status = path.stat()
    if status.st_size == 0:
        raise DataError(f"{key}: {file.uri} is empty; expected rows")
    return SourceFile(
        split, file.uri, file.name, kind, status.st_size, str(path), status.st_mtime_ns, file.sha256 or ""
    )


def _suffixes(file_type: str) -> str:
    suffixes = ", ".join(suffix for suffix, kind in FILE_TYPES.items() if file_type in ("auto", kind))
    return f"{suffixes} (text also with {' or '.join(COMPRESSED_SUFFIXES)})"
