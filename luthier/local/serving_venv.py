"""The virtual environment that Triton runs in, made once.

Triton's Python backend needs numpy 1.x while everything else here needs numpy 2, so the server gets an environment of
its own with the pins of the `serving` extra; torch and transformers still come from the environment of the running
process, through a `.pth` file. Refuses platforms that have no Triton wheel, with the reason.
"""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement

_MARKER = "luthier-serving.ready"
_STUB = "triton_python_backend_stub"
_LOADER_FAILED = 127  # exit status of a program whose shared libraries are missing, ld.so(8)


class ServingUnavailableError(RuntimeError):
    """Triton cannot run here. The message is the reason, fit to be told to a user."""


@dataclass(frozen=True)
class ServingVenv:
    """A finished environment."""

    folder: Path
    """Root of the virtual environment."""

    @property
    def bin(self) -> Path:
        """Its executables; first on Triton's PATH, so that the Python in the backend finds its packages."""
        return self.folder / "bin"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        return self.folder / "lib" / f"python{_python_version()}" / "site-packages"

    @property
    def tritonserver(self) -> Path:
        """The server's executable."""
        return self.site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        """Triton's backend directory: `python/` with the stub for this Python."""
        return self.folder / "backends"

    @property
    def libraries(self) -> tuple[Path, ...]:
        """Directories of shared libraries: Triton's own, and that of libpython."""
        return self.site_packages / "nvidia_pytriton.libs", Path(sysconfig.get_config_var("LIBDIR"))


def ensure_serving_venv(folder: Path, log: Callable[[str], None]) -> ServingVenv:
    """The environment at `folder`, made first when it is missing or was made for other pins.

    It is built beside `folder`, checked, and renamed, so a crash never leaves half of one. Two processes that ask at
    the same time get the same one. Takes under a minute and about 55 MB of downloads the first time.

    Raises:
        ServingUnavailableError: there is no Triton wheel for this platform, or it cannot be installed or started.
    """
    requirements = _requirements()
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f"{folder.name}.lock")):
        stamp = _stamp(requirements)
        marker = folder / _MARKER
        if not marker.is_file() or marker.read_text() != stamp:
            log(f"making the serving environment in {folder} (once)")
            _build(folder, requirements, stamp)
    return ServingVenv(folder)


def _build(folder: Path, requirements: list[str], stamp: str) -> None:
    staged = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        venv.create(staged, symlinks=True)
        made = ServingVenv(staged)
        _install(made, requirements)
        main_packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        (made.site_packages / "luthier_main.pth").write_text("\n".join(main_packages) + "\n")
        _merge_backend(made)
        (staged / _MARKER).write_text(stamp)
        shutil.rmtree(folder, ignore_errors=True)
        staged.rename(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _install(made: ServingVenv, requirements: list[str]) -> None:
    """Both pins are exact and the backend needs nothing else, so what the wheels ask for is left out."""
    command = [sys.executable, "-m", "pip", "--python", str(made.bin / "python"), "install"]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, *options, *requirements], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ServingUnavailableError(f"pip could not install {', '.join(requirements)}: {_last_line(done.stderr)}")


def _merge_backend(made: ServingVenv) -> None:
    """Puts the stub for this Python beside the backend's library, and checks that it starts."""
    server = made.site_packages / "pytriton" / "tritonserver"
    stub = server / "python_backend_stubs" / _python_version() / _STUB
    if not stub.is_file():
        raise ServingUnavailableError(f"the Triton wheel has no Python backend for Python {_python_version()}")
    backend = made.backends / "python"
    shutil.copytree(server / "backends" / "python", backend)
    shutil.copy2(stub, backend / _STUB)
    environment = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, made.libraries))}
    command = [str(backend / _STUB)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == _LOADER_FAILED:
        raise ServingUnavailableError(
            f"Triton's Python backend does not start with {sys.executable}: {_last_line(done.stderr)}. When libpython "
            f"is what is missing, use a Python that was built with --enable-shared"
        )


def _requirements() -> list[str]:
    """The `serving` extra of this distribution as it applies to this platform: `["numpy==1.26.4", ...]`."""
    parsed = [Requirement(text) for text in requires("luthier") or []]
    serving = [
        requirement
        for requirement in parsed
        if requirement.marker
        and requirement.marker.evaluate({"extra": "serving"})
        and not requirement.marker.evaluate({"extra": ""})
    ]
    if not any(requirement.name == "nvidia-pytriton" for requirement in serving):
        raise ServingUnavailableError(
            f"there is no Triton wheel for {platform.system()} {platform.machine()}; it exists for Linux on x86_64. "
            f"Set LUTHIER_TRITON_URL and LUTHIER_TRITON_REPOSITORY to use a Triton that runs elsewhere"
        )
    return sorted(f"{requirement.name}{requirement.specifier}" for requirement in serving)


def _stamp(requirements: list[str]) -> str:
    """Changes whenever the environment has to be made anew."""
    parts = [*requirements, sys.version, sysconfig.get_path("purelib")]
    return sha256("\n".join(parts).encode()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds an exclusive file lock; the system frees it when the process dies."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
