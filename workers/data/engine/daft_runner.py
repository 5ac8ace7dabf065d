"""The one place that imports Daft: in this process or on a Ray cluster, silent, and without a word to its makers.

Daft reports every import over the network unless the environment says no before it is imported. A process keeps the
engine with which it runs its first plan.
"""

import os
from pathlib import Path

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DAFT_PROGRESS_BAR", "0")

import daft

from luthier.spec.data import Engine
from workers.data.engine.ray_cluster import connect, num_cpus

__all__ = ["daft", "is_distributed", "num_side_by_side", "use_engine"]


def use_engine(engine: Engine, ray_address: str, scratch: Path) -> None:
    """Has this process run its plans on `engine`.

    Args:
        engine: as the job file has it.
        ray_address: of the Ray cluster; empty: there is none.
        scratch: folder that holds what the plans read.

    Raises:
        ConfigError: there is no Ray here, or no address of a cluster.
        DependencyError: the cluster does not answer, or one of its nodes cannot do the work.
    """
    if engine == "ray":
        connect(ray_address, scratch)
        daft.set_runner_ray(noop_if_initialized=True)


def is_distributed() -> bool:
    """Whether other processes run the plans of this one."""
    return bool(daft.runners.get_or_infer_runner_type() == "ray")


def num_side_by_side() -> int:
    """How many CPUs there are to work on: those that this process may use, or those of the cluster."""
    if is_distributed():
        return num_cpus()
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
