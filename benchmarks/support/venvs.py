"""Virtual environments for what we compare ourselves with: made once from pinned versions, kept in a cache folder."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

_READY = ".ready"


def ensure_venv(cache: Path, name: str, pins: Sequence[str], alone: Sequence[str] = ()) -> Path:
    """The folder of a virtual environment with `pins` (`package==version`) installed; made when it is not there.

    `alone` are pins that are installed without what they depend on.

    Raises:
        subprocess.CalledProcessError: the packages cannot be installed.
    """
    folder = cache / "-".join([name, *(pin.partition("==")[2] for pin in (*alone, *pins))])
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (folder / _READY).exists():
            return folder
        print(f"installing {', '.join(pins)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *pins], check=True)
        if alone:
            subprocess.run(
                [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", *alone], check=True
            )
        (folder / _READY).touch()
    return folder
