"""A Ray cluster to run plans on: reached within bounded time, and looked at before it gets any work.

What is looked at is in ray_probe.py, which runs in a process of its own: Ray's core ends a process that it cannot
connect, and waits for minutes where an address is wrong.
"""

import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from workers.failures import ConfigError, DependencyError

_PROBE_SECONDS = 90.0


def connect(address: str, scratch: Path) -> None:
    """Makes this process a driver of the cluster at `address`, whose nodes all see the folder `scratch`.

    Raises:
        ConfigError: the package is not installed, or there is no address.
        DependencyError: nothing answers there, or a node cannot do the work; says which and why.
    """
    if find_spec("ray") is None:
        raise ConfigError(
            "data.engine: ray needs a package that this worker does not have: pip install 'luthier[ray]' on the worker "
            "and on every node of the cluster, or leave engine out"
        )
    if not address:
        raise ConfigError(
            "data.engine: ray needs a cluster, and this worker knows none; set LUTHIER_RAY_ADDRESS of the worker to "
            "HOST:PORT of its head, or leave engine out"
        )
    _probe(address, scratch)
    os.environ.setdefault("RAY_DISABLE_DASHBOARD", "1")  # Daft would look for its address with every plan
    import ray  # only here, because most workers do without

    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)


def num_cpus() -> int:
    """Of the cluster that this process is connected to."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]


def _probe(address: str, scratch: Path) -> None:
    command = [sys.executable, "-m", "workers.data.engine.ray_probe", address, str(scratch)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module, arguments as a list
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DependencyError(
            f"the Ray cluster at {address} did not answer within {_PROBE_SECONDS:.0f} s; check LUTHIER_RAY_ADDRESS of "
            "the worker, and whether the cluster is up"
        ) from error
    if done.returncode:
        why = (done.stdout.strip() or done.stderr.strip()).splitlines()
        raise DependencyError(f"the Ray cluster at {address} cannot be used: {why[-1] if why else 'no reason given'}")
