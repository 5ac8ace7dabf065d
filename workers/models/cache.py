"""The cache of base models: a folder is complete or absent, and two processes never build the same one at once."""

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from luthier.artifacts import sync_path


def cached(folder: Path, build: Callable[[Path], None]) -> Path:
    """`folder`, built by `build(empty staging folder)` when it is not there yet.

    Whatever `build` raises is passed on and leaves nothing behind; what a killed process left is swept away.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():
            return folder
        for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
            shutil.rmtree(leftover)
        staging = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"
        staging.mkdir()
        try:
            build(staging)
            for path in staging.rglob("*"):
                sync_path(path)
            staging.rename(folder)
            sync_path(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return folder
