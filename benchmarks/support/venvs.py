"""Virtual environments for what we compare ourselves with: made once from pinned versions, kept in a cache folder."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

_READY = ".ready"


def ensure_venv(cache: Path, name: str, pins: Sequence[str]) -> Path:
    """The folder of a virtual environment with `pins` (`package==version`) installed; made when it is not there.

    Raises:
        subprocess.CalledProcessError: the packages cannot be installed.
    """
    folder = cache / "-".join([name, *(pin.partition("==")[2] for pin in pins)])
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (folder / _READY).exists():
            return folder
        print(f"installing {', '.join(pins)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *pins], check=True)
        (folder / _READY).touch()
    return folder
