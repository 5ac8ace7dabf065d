"""The scratch folder of one attempt, and the removal of those that earlier lives of a worker left behind.

Several workers may share one root. A folder is in use for as long as some process has it open and locked: the
supervisor, and the runner that inherits the open folder from it. The kernel drops the lock when both are gone.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


class Workspace:
    """A folder `root/name`, from `create` to `remove`."""

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / name
        self._root = root
        self._descriptor: int | None = None

    def create(self) -> int:
        """Makes the folder. Returns it as an open file, to be handed on to a process that uses it.

        Raises:
            OSError: it cannot be made, or is there already.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with _locked(self._root):
            self.path.mkdir(mode=0o700)
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._descriptor

    def remove(self) -> None:
        """Removes the folder that `create` made, if it did; what cannot be removed is left for `remove_leftovers`."""
        if self._descriptor is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._descriptor)
            self._descriptor = None


def remove_leftovers(root: Path) -> None:
    """Removes the folders under `root` that no living process uses."""
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root):
        for path in sorted(root.iterdir()):
            if path.is_dir() and not path.is_symlink() and not _is_used(path):
                _log.info("removing %s, which nobody uses any more", path)
                shutil.rmtree(path, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keeps a folder that was just made from being taken for a leftover."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
