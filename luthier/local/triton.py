"""The embedded Triton server: its command line, its environment, and the question whether it is ready.

Loopback only, models loaded explicitly. What the repository holds is loaded at the start, so that deployments answer
again after a restart; a model that cannot be loaded keeps neither the server nor the others down.
"""

import asyncio
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.local.child import ChildSpec
from luthier.local.ports import LOOPBACK
from luthier.local.serving_venv import ServingVenv

_PROBE_SECONDS = 2.0
_START_SECONDS = 300.0  # it answers once the models of earlier runs are loaded


@dataclass(frozen=True)
class TritonPorts:
    """Where it listens on loopback."""

    grpc: int
    http: int
    metrics: int


def triton_child(
    venv: ServingVenv, repository: Path, ports: TritonPorts, log: Path, environment: Mapping[str, str]
) -> ChildSpec:
    """The server over the model repository at `repository`, which is made when it is missing.

    Args:
        venv: from `ensure_serving_venv`.
        repository: models that earlier runs left in it are loaded at the start.
        ports: free ones.
        log: file for all that the server and its backends print.
        environment: variables that it gets besides its own, such as HOME.
    """
    repository.mkdir(parents=True, exist_ok=True)
    options = {
        "model-repository": repository.absolute(),
        "backend-directory": venv.backends,
        "model-control-mode": "explicit",
        "load-model": "*",
        "exit-on-error": "false",
        "strict-readiness": "false",
        "http-address": LOOPBACK,
        "http-port": ports.http,
        "grpc-address": LOOPBACK,
        "grpc-port": ports.grpc,
        "metrics-address": LOOPBACK,
        "metrics-port": ports.metrics,
        "exit-timeout-secs": 5,
        # Names of shared memory are global to the machine; two servers must not meet in one.
        "backend-config": f"python,shm-region-prefix-name=luthier-{ports.grpc}-",
    }
    own = {
        "PATH": os.pathsep.join([str(venv.bin), environment.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, venv.libraries)),
        "PYTHONPATH": str(venv.site_packages),
        "HF_HUB_OFFLINE": "1",
    }
    return ChildSpec(
        name="triton",
        argv=(
            str(venv.tritonserver),
            *(f"--{name}={value}" for name, value in options.items()),
            # Our models are fully described; without this each load would start the backend one more time.
            "--disable-auto-complete-config",
        ),
        log=log,
        answers=lambda: is_ready(ports.http),
        environment={**environment, **own},
        start_seconds=_START_SECONDS,
    )


async def is_ready(http_port: int) -> bool:
    """Whether the Triton on that loopback port takes requests now."""
    return await asyncio.to_thread(_probe, f"http://{LOOPBACK}:{http_port}/v2/health/ready")


def _probe(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_SECONDS) as response:  # noqa: S310
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
