"""Where rows are: a path on the worker's disk, with wild cards perhaps, or a URI; or a list of them. What a URI alone
can tell is checked.

A path on disk: a file, a folder, or a pattern with `*`, `?`, `[...]` and `**`. A URI starts with one of `SCHEMES`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

SCHEMES = ("file", "https", "http", "s3", "gs", "hf")
HIDDEN = "hidden"
"""Type of the error for a value that must not be shown again."""
_ONE, _SEVERAL = "(path)", "(paths)"
PATH_TAGS = frozenset({_ONE, _SEVERAL})
"""What pydantic puts into the place of an error, for a path and for a list of them; the job file has no such keys."""

_HUB_FORM = "hf://datasets/OWNER/NAME[@REVISION][/PATH][?config=NAME&split=NAME]"
_HUB = re.compile(
    r"hf://datasets/(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r"(?:@(?P<revision>refs/convert/[\w-]+|refs/pr/\d+|[\w.%-]+))?"
    r"(?:/(?P<path>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)
_WITH_QUERY = re.compile(r"(?!(?:file|s3|gs|hf)://)([^?]*://[^?]*)\?.*", re.DOTALL)
"""In the other schemes a `?` is part of a pattern, or asks for nothing secret."""
_KEYS_OF_PATHS = frozenset({"path", "validation_path", "test_path", "paths"})


class HubLocation(NamedTuple):
    """A dataset of the Hugging Face hub, or a part of one."""

    repository: str
    """`OWNER/NAME`"""
    revision: str | None
    """Branch, tag or commit; None: the default branch."""
    path: str
    """File, folder or pattern in the repository; empty: all that the dataset's card, or the names, call data."""
    config: str | None
    split: str | None


def parse_hub(uri: str) -> HubLocation:
    """The parts of `hf://datasets/...`.

    Raises:
        ValueError: it has another form.
    """
    match = _HUB.fullmatch(uri)
    if match is None:
        raise ValueError(f"not of the form {_HUB_FORM}")
    query = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    if unknown := sorted(query.keys() - {"config", "split"}):
        raise ValueError(f"{', '.join(unknown)} means nothing here; the form is {_HUB_FORM}")
    path = (match["path"] or "").strip("/")
    if path and query:
        raise ValueError(f"{' and '.join(query)} mean nothing beside a path in the repository; leave one of them out")
    revision = match["revision"]
    return HubLocation(
        match["repository"], revision and unquote(revision), path, query.get("config"), query.get("split")
    )


def without_query(path: str) -> str:
    """A path as reports and messages show it: what follows the `?` of a web address may be a signature, and is for
    nobody. One that is no valid path, for it has white space or a slip in its scheme, is cut as well."""
    match = _WITH_QUERY.fullmatch(path)
    return match[1] if match else path


def without_queries(section: Mapping[str, Any]) -> dict[str, Any]:
    """A `data` section as JSON, or one of its sources, with every path of rows as `without_query` shows it."""
    shown = dict(section)
    for key in _KEYS_OF_PATHS & shown.keys():
        value = shown[key]
        shown[key] = [*map(without_query, value)] if isinstance(value, list) else value and without_query(value)
    if shown.get("sources"):
        shown["sources"] = [*map(without_queries, shown["sources"])]
    if shown.get("decontaminate"):
        shown["decontaminate"] = without_queries(shown["decontaminate"])
    return shown


def paths_of(value: str | Sequence[str] | None) -> Sequence[str]:
    """The paths of a field that has one, several or none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _check(path: str) -> str:
    if not path.isprintable():
        raise ValueError("holds control characters; give a plain path or URI")
    if "://" not in path:
        return path
    scheme = path.split("://", 1)[0]
    if scheme not in SCHEMES:
        raise ValueError(f"rows cannot be read from {scheme}://; expected a path or one of {', '.join(SCHEMES)}")
    if scheme == "file":
        return path
    parts = urlsplit(path)
    if "@" in parts.netloc:
        raise PydanticCustomError(
            HIDDEN, "names a user or password; leave it out and give the worker its credentials through its environment"
        )
    if ".." in unquote(parts.path).split("/"):
        raise ValueError("holds '..'; write the path without it")
    if not parts.netloc:
        what = "bucket" if scheme in ("s3", "gs") else "host"
        raise ValueError(f"names no {what}; expected {scheme}://{what.upper()}/PATH")
    if scheme == "hf":
        parse_hub(path)
    return path


DataPath = Annotated[str, Field(min_length=1), AfterValidator(_check)]
"""File, folder, pattern or URI of rows."""


def _check_each_once(paths: list[str]) -> list[str]:
    doubled = next((path for number, path in enumerate(paths) if path in paths[:number]), None)
    if doubled is not None:
        raise ValueError(f"names {without_query(doubled)!r} more than once; leave the second one out")
    return paths


def _tag(value: Any) -> str:
    return _SEVERAL if isinstance(value, list) else _ONE


DataPaths = Annotated[
    Annotated[DataPath, Tag(_ONE)]
    | Annotated[list[DataPath], Field(min_length=1), AfterValidator(_check_each_once), Tag(_SEVERAL)],
    Discriminator(_tag),
]
"""One `DataPath`, or several different ones, which are read in their order."""
