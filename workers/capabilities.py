"""What this machine can do, asked of the operating system and of `nvidia-smi`, without importing torch."""

import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from luthier.ids import check_id
from luthier.settings import WorkerSettings
from luthier.v1.worker_pb2 import WorkerCapabilities

_QUERY = ("--query-gpu=name", "--format=csv,noheader")
_QUERY_SECONDS = 20.0
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Accelerators:
    """The accelerators of this machine."""

    name: str = ""
    """Of the first one, e.g. `NVIDIA H100 80GB HBM3`; empty without any."""
    number: int = 0


def probe(settings: WorkerSettings, known_kinds: Collection[str]) -> WorkerCapabilities:
    """Capabilities of this worker: what the settings say, completed by what the machine has.

    Raises:
        ValueError: the settings name a stage kind that this worker does not know, or a class that is no id.
    """
    accelerators = find_accelerators()
    classes = _split(settings.worker_classes) or (["cpu", "gpu"] if accelerators.number else ["cpu"])
    kinds = _split(settings.worker_kinds) or list(known_kinds)
    unknown = sorted(set(kinds) - set(known_kinds))
    if unknown:
        raise ValueError(f"LUTHIER_WORKER_KINDS names {unknown}; this worker knows {sorted(known_kinds)}")
    return WorkerCapabilities(
        worker_classes=[check_id(name, "worker class") for name in classes],
        kinds=kinds,
        num_cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=memory_bytes(),
        accelerator=accelerators.name,
        num_accelerators=accelerators.number,
        version=version("luthier"),
    )


def display_name() -> str:
    """What people know this machine by."""
    return socket.gethostname()


def find_accelerators(command: Sequence[str] = ("nvidia-smi", *_QUERY)) -> Accelerators:
    """The NVIDIA accelerators that `nvidia-smi` lists; none when it is missing, fails or does not answer."""
    program = shutil.which(command[0])
    if program is None:
        return Accelerators()
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed argument list
            [program, *command[1:]], capture_output=True, text=True, timeout=_QUERY_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return Accelerators()
    names = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    return Accelerators(names[0], len(names)) if names else Accelerators()


def interface_of(host: str) -> str:
    """Name of the network interface that has the address `host`.

    Raises:
        ValueError: this machine has no such address.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            return name
    raise ValueError(f"LUTHIER_GANG_HOST is {host}, which is no address of this machine")


def memory_bytes() -> int:
    """Memory of this machine, or of the container when that is less."""
    total = int(psutil.virtual_memory().total)
    try:
        limit = _CGROUP_LIMIT.read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
