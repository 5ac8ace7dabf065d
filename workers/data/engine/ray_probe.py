"""`python -m workers.data.engine.ray_probe ADDRESS FOLDER`: whether the nodes of a Ray cluster can run our plans.

Prints what is wrong, and exits with 1 if anything is. A node must have the same versions of our packages and of what
travels between processes, and must see the folder.
"""

import argparse
import logging
import platform
import socket
import sys
from importlib import metadata
from pathlib import Path

_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 60.0
_SAME = ("luthier", "daft", "pyarrow", "ray")


def main() -> int:
    """The process. Returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m workers.data.engine.ray_probe", description="Look at a Ray cluster."
    )
    parser.add_argument("address")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    problem = unreachable(arguments.address) or unfit(arguments.address, arguments.folder)
    if problem:
        print(problem)  # noqa: T201
    return 1 if problem else 0


def unreachable(address: str) -> str:
    """Why nothing answers at `[ray://]HOST:PORT`; empty: something does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return "its address is not of the form HOST:PORT; mend LUTHIER_RAY_ADDRESS of the worker"
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        return f"{error}; check LUTHIER_RAY_ADDRESS of the worker, and whether the cluster is up"
    return ""


def unfit(address: str, folder: Path) -> str:
    """Why the cluster cannot run our plans; empty: it can."""
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        return f"no node of it can be joined from here: {error}"
    looks = {}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"] and node["Resources"].get("CPU"):
            there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            look = ray.remote(_look).options(scheduling_strategy=there, num_cpus=0)
            looks[look.remote(str(folder))] = node["NodeManagerAddress"]
    if not looks:
        return "none of its nodes has a CPU to work with"
    done, waiting = ray.wait([*looks], num_returns=len(looks), timeout=_ANSWER_SECONDS)
    problems = [f"node {looks[one]} does not answer" for one in waiting]
    problems += [f"node {looks[one]} {problem}" for one in done for problem in _differences(ray.get(one), folder)]
    return "; ".join(problems)


def _look(folder: str) -> dict[str, str | bool]:
    """What a node has. It travels as code, so it imports what it needs."""
    versions: dict[str, str | bool] = {}
    for name in _SAME:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = ""
    return {**versions, "python": platform.python_version(), "sees_folder": Path(folder).is_dir()}


def _differences(found: dict[str, str | bool], folder: Path) -> list[str]:
    ours = _look(str(folder))
    problems = [
        f"has {name} {found[name] or 'not at all'}, and this worker {ours[name]}; install the same there"
        for name in (*_SAME, "python")
        if found[name] != ours[name]
    ]
    if not found["sees_folder"]:
        problems.append(f"does not see {folder}; put LUTHIER_WORK_DIR on a file system that all nodes share")
    return problems


if __name__ == "__main__":
    sys.exit(main())
