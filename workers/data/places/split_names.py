"""What others call the splits. The words are those by which `datasets` tells them in names of files and folders."""

import re

from workers.data.dataset import SplitName
from workers.failures import DataError

_WORDS: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
_BETWEEN = re.compile(r"[^A-Za-z0-9]+")


def split_of(name: str, where: str, remedy: str) -> SplitName:
    """Our name of the split `name`.

    Args:
        name: as a dataset calls it.
        where: the dataset, for the message.
        remedy: what to name instead, for the message.

    Raises:
        DataError: it is none of ours, so nobody knows what its rows are for.
    """
    if name not in _WORDS:
        raise DataError(
            f"{where} has the split {name!r}, which is none of train, validation and test; name {remedy} in path, "
            f"validation_path and test_path"
        )
    return _WORDS[name]


def split_in_path(path: str) -> SplitName | None:
    """The split that a word in a path stands for, the last one if there are several; None: there is no such word."""
    found = [_WORDS[word] for word in _BETWEEN.split(path.lower()) if word in _WORDS]
    return found[-1] if found else None
