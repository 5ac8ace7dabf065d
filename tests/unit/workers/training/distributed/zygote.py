"""Starts ranks quickly: one process imports what ranks need, and forks as many as it is asked for.

It reads JSON, one line for each world: `num_ranks`, `function` ("module:name", called with a folder and the world of
the rank) and `folder`. It answers with the exit status of each rank; what they print goes to the standard error. When
one fails the others are killed, as torchrun does, and so are all when they are not done after `seconds`.
"""

import json
import os
import signal
import sys
import traceback
import uuid
from importlib import import_module
from pathlib import Path

import torch

from workers.parent import die_with_parent
from workers.training.distributed.world import joined

LOADED = (
    "tests.unit.workers.training.distributed.ranks",
    "tests.unit.workers.training.methods.on_ranks",
    "workers.training.distributed.strategies.zero",
)
"""Takes seconds to import."""


def be_a_rank(rank: int, num_ranks: int, function: str, folder: Path, store: Path) -> None:
    """Calls the function, and ends the process."""
    status = 1
    try:
        torch.set_num_threads(1)
        os.environ["LOCAL_RANK"] = str(rank)  # as torchrun does, for DeepSpeed
        module, _, name = function.partition(":")
        with joined(rank, num_ranks, store) as world:
            getattr(import_module(module), name)(folder, world)
        status = 0
    except BaseException:  # a forked process must not go on as its parent
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def start(num_ranks: int, function: str, folder: Path, seconds: int) -> list[int]:
    """Forks the ranks and lives through them; their exit statuses, negative for a signal."""
    store = folder / f"store-{uuid.uuid4().hex[:8]}"
    children: list[int] = []
    for rank in range(num_ranks):
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            die_with_parent(parent)
            signal.alarm(seconds)
            be_a_rank(rank, num_ranks, function, folder, store)
        children.append(child)
    statuses: dict[int, int] = {}
    while len(statuses) < num_ranks:
        child, status = os.wait()
        statuses[child] = os.waitstatus_to_exitcode(status)
        if statuses[child] != 0:
            for other in set(children) - statuses.keys():
                os.kill(other, signal.SIGKILL)
    return [statuses[child] for child in children]


def main() -> None:
    """Serves until its standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in LOADED:
        import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        statuses = start(asked["num_ranks"], asked["function"], Path(asked["folder"]), asked["seconds"])
        print(json.dumps(statuses), file=answers, flush=True)


if __name__ == "__main__":
    main()
