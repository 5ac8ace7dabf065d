"""Which files of a dataset's repository are its rows, and of which split: by the card's `configs`, else by their names.

Both rules are those of the library `datasets`, without its scripts.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from luthier.spec.data.location import HubLocation
from workers.data.dataset import SplitName
from workers.data.files import type_of_name
from workers.data.places.listing import is_hidden, matches
from workers.data.places.split_names import split_in_path, split_of
from workers.failures import DataError

CARD = "README.md"
_NOT_ROWS = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json"})
_REMEDY = "?split=NAME"

Chosen = list[tuple[str, SplitName | None]]


def choose(names: Sequence[str], location: HubLocation, card: bytes, where: str) -> Chosen:
    """Paths of the files that `location` means, each with its split; None where there are no splits.

    Args:
        names: paths of all files of the repository.
        location: what the job file asks for.
        card: start of README.md.
        where: place in the job file, for messages.

    Raises:
        DataError: there are none, or it is not clear which ones are meant.
    """
    if location.path:
        return _named(names, location.path, where)
    config = _config(_configs(card, where), location.config, where)
    data = [name for name in names if _is_data(name)]
    if config.get("data_files"):
        found = _by_card(data, config, where)
    else:
        folder = str(config.get("data_dir") or "").strip("/")
        found = _by_names([name for name in data if not folder or name.startswith(f"{folder}/")])
    if not found:
        raise DataError(f"{where} has no data files that can be read{_hint(names)}")
    return _of_split(found, location.split, where)


def _named(names: Sequence[str], path: str, where: str) -> Chosen:
    if path in names:
        return [(path, None)]
    below = [name for name in names if name.startswith(f"{path}/") and "/" not in name[len(path) + 1 :]]
    found = [name for name in below or names if name in below or matches(name, path)]
    visible = [name for name in found if not is_hidden(PurePosixPath(name).name) and type_of_name(name)]
    if not visible:
        raise DataError(f"{where}: nothing in the repository fits {path!r}; give a file, folder or pattern")
    return [(name, None) for name in visible]


def _configs(card: bytes, where: str) -> list[Mapping[str, Any]]:
    """`configs` of the YAML between the first two lines of dashes."""
    _, *parts = card.decode("utf-8", "replace").replace("\r\n", "\n").lstrip("\ufeff").split("---\n", 2)
    if len(parts) < 2 or not card.lstrip(b"\xef\xbb\xbf").startswith(b"---"):
        return []
    try:
        document = YAML(typ="safe", pure=True).load(parts[0])
    except (YAMLError, RecursionError) as error:
        raise DataError(f"{where}: the dataset's {CARD} cannot be read; name its files in path") from error
    configs = document.get("configs") if isinstance(document, dict) else None
    return [one for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []


def _config(configs: Sequence[Mapping[str, Any]], name: str | None, where: str) -> Mapping[str, Any]:
    known = {str(one.get("config_name", "default")): one for one in configs}
    if name is not None and name not in known:
        raise DataError(f"{where} has no config {name!r}; it has {', '.join(known) or 'none'}")
    defaults = [one for key, one in known.items() if one.get("default") is True or key == "default"]
    candidates = [known[name]] if name is not None else defaults or list(known.values())
    if len(candidates) > 1:
        raise DataError(f"{where} has the configs {', '.join(known)}; choose one of them by ?config=NAME")
    return candidates[0] if candidates else {}


def _by_card(data: Sequence[str], config: Mapping[str, Any], where: str) -> list[tuple[str, str | None]]:
    files = config["data_files"]
    rows = files if isinstance(files, list) else [files]
    found: list[tuple[str, str | None]] = []
    for row in rows:
        split, paths = (row.get("split"), row.get("path")) if isinstance(row, dict) else (None, row)
        patterns = [str(pattern).removeprefix("./") for pattern in (paths if isinstance(paths, list) else [paths])]
        fitting = [name for name in data if any(matches(name, pattern) for pattern in patterns)]
        if not fitting:
            raise DataError(f"{where}: the dataset's {CARD} names {', '.join(patterns)}, but nothing there can be read")
        found += [(name, None if split is None else str(split)) for name in fitting]
    return found


def _by_names(data: Sequence[str]) -> list[tuple[str, str | None]]:
    folders = [(name, split_in_path(str(PurePosixPath(name).parent))) for name in data]
    names = [(name, split_in_path(PurePosixPath(name).name)) for name in data]
    for told in (folders, names):
        if any(split for _, split in told):
            # What no word puts into a split belongs to none.
            return [(name, split) for name, split in told if split]
    return [(name, None) for name in data]


def _of_split(found: Sequence[tuple[str, str | None]], split: str | None, where: str) -> Chosen:
    known = list(dict.fromkeys(one for _, one in found if one))
    if split is None:
        return [(name, None if one is None else split_of(one, where, _REMEDY)) for name, one in found]
    if split not in known:
        raise DataError(f"{where} has no split {split!r}; it has {', '.join(known) or 'none'}")
    return [(name, None) for name, one in found if one == split]


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return type_of_name(name) is not None and not is_hidden(name) and path.name not in _NOT_ROWS


def _hint(names: Sequence[str]) -> str:
    if not any(name.endswith(".py") for name in names):
        return "; expected JSON, CSV, Parquet or Arrow"
    return (
        ": it is made by a script, and scripts are not run; take the hub's own conversion, "
        "@refs/convert/parquet, or save it to files"
    )
