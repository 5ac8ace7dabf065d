"""Where the artifact store has the datasets of a project, by version, and how a version is taken out.

`<artifacts>/<project>/datasets/<hex of the version>/<attempt>`. Workers put datasets there and use them again
(`workers/data/lineage/versions.py`); the coordinator decides which may go. A version is withdrawn first, which is quick
and makes it invisible at once, and erased then. All of this waits for the store: call it in a thread.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import fsspec

from luthier.artifacts import MANIFEST, delete, join, local_path

VERSION_PREFIX = "sha256:"

_NAME = re.compile(r"[0-9a-f]{64}")
_WITHDRAWN = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}\.tmp")


@dataclass(frozen=True)
class StoredVersion:
    """A version that takes up space."""

    version: str
    """`sha256:<hex>`"""
    num_datasets: int
    num_bytes: int
    """Of all files, also of those that nobody finished."""
    written_time: datetime | None
    """When the last of its datasets was finished; None where there is none, or the store does not say."""


def datasets_uri(artifacts: str, project_id: str) -> str:
    """The place of a project's datasets."""
    return join(artifacts, project_id, "datasets")


def version_uri(datasets: str, version: str) -> str:
    """The place of one version."""
    return join(datasets, version.removeprefix(VERSION_PREFIX))


def list_versions(datasets: str) -> list[StoredVersion]:
    """All versions at `datasets`, in no order.

    Raises:
        OSError: the store does not answer.
    """
    filesystem, path = _open(datasets)
    names = [name for name in _names(filesystem, path) if _NAME.fullmatch(name)]
    described = (_described(filesystem, join(path, name)) for name in names)
    return [version for version in described if version is not None]


def withdraw(datasets: str, version: str) -> list[str]:
    """Makes a version invisible to all who look for it from now on; returns what is left to `erase`.

    Only what is there now: a dataset that somebody publishes afterwards stays.

    Raises:
        OSError: the store does not answer, or does not let us.
    """
    uri = version_uri(datasets, version)
    folder = local_path(uri)
    if folder is not None:
        if not folder.is_dir():
            return []
        hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        folder.rename(hidden)
        return [str(hidden)]
    filesystem, path = _open(uri)
    names = _names(filesystem, path)
    for name in names:
        if filesystem.exists(join(path, name, MANIFEST)):
            filesystem.rm(join(path, name, MANIFEST))
    return [join(uri, name) for name in names]


def withdrawn(datasets: str) -> list[str]:
    """What earlier withdrawals left behind because somebody died before the end.

    Raises:
        OSError: the store does not answer.
    """
    filesystem, path = _open(datasets)
    return [join(datasets, name) for name in _names(filesystem, path) if _WITHDRAWN.fullmatch(name)]


def erase(uris: Iterable[str]) -> None:
    """Deletes what was withdrawn; what somebody else deletes at the same time is gone as well.

    Raises:
        OSError: the store does not answer, or does not let us.
    """
    for uri in uris:
        try:
            delete(uri)
        except FileNotFoundError:
            continue


def _described(filesystem: Any, path: str) -> StoredVersion | None:
    """None: there is nothing, because somebody withdrew it while it was looked at."""
    names = _names(filesystem, path)
    manifests = [join(path, name, MANIFEST) for name in names if not name.endswith(".tmp")]
    try:
        times = [_modified(filesystem, manifest) for manifest in manifests if filesystem.exists(manifest)]
    except FileNotFoundError:
        return None
    if not names:
        return None
    known = [time for time in times if time is not None]
    return StoredVersion(
        version=f"{VERSION_PREFIX}{PurePosixPath(path).name}",
        num_datasets=len(times),
        num_bytes=int(filesystem.du(path)),
        written_time=max(known, default=None) if len(known) == len(times) else None,
    )


def _modified(filesystem: Any, path: str) -> datetime | None:
    try:
        time: datetime = filesystem.modified(path)
    except NotImplementedError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _open(uri: str) -> tuple[Any, str]:
    """The file system, which remembers nothing of what it listed before, and the path in it."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    filesystem.invalidate_cache()
    return filesystem, path


def _names(filesystem: Any, path: str) -> list[str]:
    try:
        return [PurePosixPath(name).name for name in filesystem.ls(path, detail=False)]
    except FileNotFoundError:
        return []
