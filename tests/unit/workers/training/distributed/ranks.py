"""One rank, started by torchrun: makes all runs, and writes what is left of them to `FOLDER/<rank>.json`.

    torchrun --nproc-per-node 2 ranks.py FOLDER

`FOLDER/alone.json` has a run of one rank that was stopped and is finished here.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from luthier.settings import RankSettings
from tests.unit.workers.training.distributed.runs import RESUMED, RUNS, STOP_AT, make, read
from workers.training.distributed.world import World, joined


def main(folder: Path, world: World) -> None:
    kept = {name: make(name, folder / name, world) for name in RUNS}
    # Which checkpoints there are is told to the coordinator, and by it to the ranks of the next attempt.
    for name in RESUMED:
        stopped = make(name, folder / f"{name}, stopped", world, stop_at=STOP_AT)
        kept[f"{name}, stopped"] = stopped
        earlier = type(stopped)([], {}, world.first(stopped.checkpoints)).earlier()
        kept[f"{name}, resumed"] = make(name, folder / f"{name}, resumed", world, earlier=earlier, fence=2)
    for name, alone in read(folder / "alone.json").items():
        kept[f"{name}, grown"] = make(name, folder / f"{name}, grown", world, earlier=alone.earlier(), fence=2)
    (folder / f"{world.rank}.json").write_text(json.dumps({name: asdict(run) for name, run in kept.items()}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = RankSettings()  # type: ignore[call-arg]
    with joined(place.rank, place.num_ranks, Path(sys.argv[1]) / "store") as joined_world:
        main(Path(sys.argv[1]), joined_world)
