"""Folders as `Dataset.save_to_disk` and `DatasetDict.save_to_disk` of the library `datasets` write them.

Only their JSON and Arrow files are read, by us: a dictionary names its splits, a dataset its files.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from workers.data.dataset import SplitName
from workers.data.places.split_names import split_of
from workers.failures import DataError

_DICTIONARY, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"


class SavedFile(NamedTuple):
    """One Arrow file."""

    path: Path
    name: str
    """Below the folder."""
    split: SplitName | None


def is_saved(folder: Path) -> bool:
    """Whether the folder is such a dataset, or a dictionary of them."""
    return (folder / _DICTIONARY).is_file() or ((folder / _STATE).is_file() and (folder / _INFO).is_file())


def files_of(folder: Path, key: str) -> list[SavedFile]:
    """Its Arrow files. The splits of a dictionary are ours; a dataset alone has none.

    Raises:
        DataError: it is incomplete, names files elsewhere, or has splits that are none of ours.
    """
    if not (folder / _DICTIONARY).is_file():
        return [SavedFile(folder / name, name, None) for name in _names(folder, key)]
    splits = _json(folder / _DICTIONARY, key).get("splits")
    if not isinstance(splits, list) or not splits:
        raise DataError(f"{key}: {folder / _DICTIONARY} names no splits; save the dataset again")
    return [
        SavedFile(folder / split / name, f"{split}/{name}", split_of(split, f"{key}: {folder}", "the folder of one"))
        for split in map(_plain_name, splits)
        for name in _names(folder / split, key)
    ]


def _names(folder: Path, key: str) -> list[str]:
    state = _json(folder / _STATE, key)
    if state.get("_indices_data_files"):
        raise DataError(f"{key}: {folder} keeps rows by an index; save it again by a newer `datasets`")
    files = state.get("_data_files")
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise DataError(f"{key}: {folder / _STATE} names no files; save the dataset again")
    names = [_plain_name(file.get("filename")) for file in files]
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(f"{key}: {folder} lacks {', '.join(missing)}; copy it again")
    return names


def _plain_name(name: object) -> str:
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\\" in name:
        raise DataError(f"a saved dataset names the file {name!r}, which is not in its folder; it was not read")
    return name


def _json(path: Path, key: str) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{key}: {path} is missing; copy the dataset again") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{key}: {path} is not JSON: {error}; save the dataset again") from error
    if not isinstance(document, dict):
        raise DataError(f"{key}: {path} is not a JSON object; save the dataset again")
    return document
