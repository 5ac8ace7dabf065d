"""What two ranks and one make alike: every objective with LoRA, and every method with supervised fine-tuning.

test_on_ranks.py makes the runs of one rank; `make_all` makes them on every rank of a world.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from luthier.spec.distributed import DdpSpec, DistributedSpec, FsdpSpec
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.rows import ROWS, Row
from tests.unit.workers.training.methods.trained import adapt, engine_of
from tests.unit.workers.training.tiny_run import ALONE, Recorder
from workers.training.distributed.strategies import make_strategy
from workers.training.distributed.world import World
from workers.training.heads import put_head
from workers.training.methods import METHODS

NUM_STEPS = 4
_TRAINING = {"max_steps": NUM_STEPS, "eval_steps": 2, "pack_length": 64, "gradient_accumulation_steps": 2}


@dataclass(frozen=True)
class Case:
    """One run."""

    row: str
    objective: str = "sft"


CASES: dict[str, Case] = {
    **{objective: Case("lora", objective) for objective in LEARNED},
    # The first row of each method. By accumulated gradient SpIEL is for one rank alone, and the job file says so.
    **{
        row.section["type"]: Case(name)
        for name, row in reversed(ROWS.items())
        if row.section["type"] != "spiel" or row.section.get("selection") == "momentum"
    },
}


DIVIDED = ("lora", "full")
"""Cases that are also made with FSDP."""
ARTIFACT = "artifact"
DDP = DdpSpec()


@dataclass(frozen=True)
class Folders:
    """Where the models are that every process reads."""

    base: str
    teacher: str


def make(
    name: str, folders: Folders, folder: Path, world: World = ALONE, strategy: DistributedSpec = DDP
) -> list[dict[str, float]]:
    """Trains by the case of that name without dropout; its rows of metrics.

    Rank 0 leaves a train artifact in `FOLDER/artifact`.
    """
    case = CASES[name]
    row, learned = _without_dropout(ROWS[case.row]), LEARNED[case.objective]
    train, validation = learned.make_rows(16, 0), learned.make_rows(4, 9)
    model = adapt(row, Path(folders.base))
    if labels := learned.labels(train):
        put_head(model, len(labels))
    folder.mkdir(parents=True, exist_ok=True)
    engine = engine_of(
        row,
        model,
        folder,
        Recorder(),
        training=_TRAINING,
        objective=learned.make(Path(folders.teacher), folder),
        train=train,
        validation=validation,
        world=world,
        strategy=make_strategy(world, strategy),
    )
    rows = engine.run().history
    if world.is_first and not labels:
        (folder / ARTIFACT).mkdir()
        METHODS[row.section["type"]].save(model, Path(folders.base), folder / ARTIFACT)
    return [{key: value for key, value in one.items() if "second" not in key} for one in rows]


def make_all(folder: Path, world: World) -> None:
    """All cases, with the models that `FOLDER/folders.json` names; the rows go to `FOLDER/<rank>.json`."""
    folders = Folders(**json.loads((folder / "folders.json").read_text()))
    rows = {name: make(name, folders, folder / name, world) for name in CASES}
    for name in DIVIDED:
        rows[f"{name}, divided"] = make(name, folders, folder / f"{name}, divided", world, FsdpSpec(type="fsdp"))
    (folder / f"{world.rank}.json").write_text(json.dumps(rows))


def read(path: Path) -> Mapping[str, list[dict[str, float]]]:
    """What a rank left."""
    rows: dict[str, list[dict[str, float]]] = json.loads(path.read_text())
    return rows


def _without_dropout(row: Row) -> Row:
    """Each rank would draw its own."""
    torch.manual_seed(0)
    off = {key: 0.0 for key in row.section if key.endswith("dropout")}
    return replace(row, section={**row.section, **off})
