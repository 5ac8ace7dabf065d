"""What ranks do for the tests: each function is called on every rank, and leaves what came of it in `FOLDER`."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

from luthier.spec.distributed import ZeroSpec
from tests.unit.workers.training.distributed.runs import HANDED_ON, RESUMED, RUNS, STOP_AT, Kept, make, read, write
from workers.training import draft
from workers.training.distributed.world import World


def make_runs(folder: Path, world: World) -> None:
    """All runs, those that are stopped and gone on with, and those that others began: `FOLDER/alone.json`."""
    kept = {name: make(name, folder / name, world) for name in RUNS}
    # Which checkpoints there are is told to the coordinator, and by it to the ranks of the next attempt.
    for name in RESUMED:
        stopped = make(name, folder / f"{name}, stopped", world, stop_at=STOP_AT)
        kept[f"{name}, stopped"] = stopped
        earlier = Kept([], {}, world.first(stopped.checkpoints)).earlier()
        kept[f"{name}, resumed"] = make(name, folder / f"{name}, resumed", world, earlier=earlier, fence=2)
    begun = {name: Kept([], {}, world.first(kept[f"{name}, stopped"].checkpoints)) for name in RESUMED}
    for name, one in (begun | read(folder / "alone.json")).items():
        for other in HANDED_ON.get(name, ()):
            handed = f"{other}, after {name}"
            kept[handed] = make(other, folder / handed, world, earlier=one.earlier(), fence=2)
    write(folder / f"{world.rank}.json", kept)


def finish_runs(folder: Path, world: World) -> None:
    """Goes on, on these ranks, with the runs in `FOLDER/begun.json`."""
    begun = read(folder / "begun.json")
    kept = {name: make(name, folder / name, world, earlier=one.earlier(), fence=3) for name, one in begun.items()}
    write(folder / f"{world.rank}.json", kept)


def keep_state_on_disk(folder: Path, world: World) -> None:
    """A run with its state in `FOLDER/fast`, whole, and stopped and gone on with; each rank tells the largest file."""
    on_disk = ZeroSpec(
        type="zero", stage=3, offload_optimizer="nvme", offload_param="nvme", nvme_path=str(folder / "fast")
    )
    RUNS["on disk"] = replace(RUNS["full, zero 3, offloaded"], hidden_size=512, strategy=on_disk)
    kept = {"whole": make("on disk", folder / "whole", world)}
    # What swaps in and out is there until the process ends.
    sizes = [path.stat().st_size for path in (folder / "fast").rglob("*.swp")]
    (folder / f"{world.rank}.size").write_text(str(max(sizes)))
    kept["stopped"] = make("on disk", folder / "stopped", world, stop_at=STOP_AT)
    earlier = Kept([], {}, world.first(kept["stopped"].checkpoints)).earlier()
    kept["resumed"] = make("on disk", folder / "resumed", world, earlier=earlier, fence=2)
    write(folder / f"{world.rank}.json", kept)


def die_while_writing(folder: Path, world: World) -> None:
    """A run whose last rank is killed when it has written half of its part of the second checkpoint."""
    describe_file = draft.describe_file

    def die(path: Path) -> dict[str, Any]:
        if world.rank == world.size - 1 and path.parent.name.startswith("6."):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return describe_file(path)

    draft.describe_file = die
    make("full, fsdp", folder, world)
