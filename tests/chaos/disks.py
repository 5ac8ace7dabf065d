"""Small file systems that can be filled: a tmpfs each, which only root on Linux may mount."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FILLER = "filler"


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    return sys.platform == "linux" and os.geteuid() == 0


class Disk:
    """A file system of `num_mib` MiB at `path`."""

    def __init__(self, path: Path, num_mib: int) -> None:
        self._path = path
        self._num_mib = num_mib

    def mount(self) -> None:
        """Mounts it, empty."""
        self._path.mkdir(exist_ok=True)
        options = f"size={self._num_mib}m,mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self._path)], check=True)

    def unmount(self) -> None:
        """Unmounts it, whoever still looks at it."""
        subprocess.run(["umount", "--lazy", str(self._path)], check=True)

    def fill(self) -> None:
        """Takes all the room that is left."""
        with (self._path / FILLER).open("wb") as stream:
            if free := shutil.disk_usage(self._path).free:
                os.posix_fallocate(stream.fileno(), 0, free)

    def free(self) -> None:
        """Gives the room back."""
        (self._path / FILLER).unlink(missing_ok=True)
