"""The cache of base models: a folder is complete and sound, or it is built anew. Two processes never build one at once.

A cached model has the manifest of an artifact, and every use of it verifies every file.
"""

import logging
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from luthier.artifacts import ArtifactError, fetch, seal, sync_path

_log = logging.getLogger(__name__)


def cached(folder: Path, build: Callable[[Path], None]) -> Path:
    """`folder`, built by `build(empty staging folder)` when it is not there yet or is damaged.

    Whatever `build` raises is passed on and leaves nothing behind; what a killed process left is swept away.
    """
    if _is_sound(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if _is_sound(folder):
            return folder
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover)
        staging, damaged = _staging_name(folder), _staging_name(folder)
        staging.mkdir()
        try:
            build(staging)
            seal(staging)
            for path in staging.rglob("*"):
                sync_path(path)
            if folder.exists():
                folder.rename(damaged)
            staging.rename(folder)
            sync_path(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)
    return folder


def read_cached(folder: Path) -> Path:
    """`folder`, every file of it verified.

    Raises:
        ArtifactError: it is not there, or damaged; the message names the file.
    """
    return fetch(str(folder), folder)


def _is_sound(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        read_cached(folder)
    except ArtifactError as error:
        _log.warning("the cached model is damaged and is made anew: %s", error)
        return False
    return True


def _staging_name(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
