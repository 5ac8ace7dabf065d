"""What two ranks make of a pair of pairings.py: a run, the same one gone on with, and one that one rank began.

test_on_ranks.py makes the runs of one rank and asks for those of two (`ask`), which `make_case` makes on each of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from luthier.spec.distributed import DdpSpec, DistributedSpec, FsdpSpec, ZeroSpec
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.distributed.runs import Kept, write
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.pairings import FIRST, PAIRS, Models, adapt_pair, engine_of_pair, save_pair
from tests.unit.workers.training.methods.rows import ROWS, Row
from tests.unit.workers.training.tiny_run import ALONE, Recorder
from workers.training.distributed.strategies import make_strategy
from workers.training.distributed.world import World

STRATEGIES: dict[str, DistributedSpec] = {
    "ddp": DdpSpec(),
    "zero 2": ZeroSpec(type="zero", stage=2),
    "zero 3": ZeroSpec(type="zero", stage=3),
    "fsdp": FsdpSpec(type="fsdp"),
}
ARTIFACT = "artifact"
_ASKED = "asked.json"
_ROWS = {"spiel": "spiel-momentum"}
"""Those that stand for a method here: by accumulated gradient SpIEL is for one rank, and the job file says so."""


@dataclass(frozen=True)
class Case:
    """A pair, and how two ranks share its state."""

    method: str
    objective: str
    strategy: str = "ddp"

    def __str__(self) -> str:
        return f"{self.method}-{self.objective}-{self.strategy}"

    @property
    def is_divided(self) -> bool:
        """Whether each rank has a part of it."""
        return STRATEGIES[self.strategy].divides_state

    @property
    def row(self) -> Row:
        """Of the method, without dropout: each rank would draw its own."""
        row = ROWS[_ROWS.get(self.method, self.method)]
        off = {key: 0.0 for key in row.section if key.endswith("dropout")}
        return replace(row, section={**row.section, **off})


CASES = [
    *(Case(method, objective) for method, objective in PAIRS),
    *(
        Case(method, objective, strategy)
        for method in ("lora", "full")
        for objective in LEARNED
        for strategy, section in STRATEGIES.items()
        if section.divides_state
    ),
]


def make(
    case: Case,
    models: Models,
    folder: Path,
    world: World = ALONE,
    *,
    earlier: Sequence[Checkpoint] = (),
    artifact: Path | None = None,
) -> Kept:
    """Trains by the case, on one rank with nothing divided, from the start or the newest of `earlier`.

    Rank 0 leaves a train artifact in the new folder `artifact`.
    """
    adapted = adapt_pair(case.row, case.objective, models)
    report = Recorder()
    strategy = make_strategy(world, STRATEGIES[case.strategy]) if world.size > 1 else None
    engine = engine_of_pair(
        case.row, case.objective, adapted, models, folder, report, earlier=earlier, world=world, strategy=strategy
    )
    kept = Kept.of(engine.run().history, adapted.model, report)
    if artifact is not None and world.is_first:
        save_pair(case.row, adapted, models, artifact)
    return kept


def ask(case: Case, models: Models, folder: Path, begun: Kept) -> None:
    """Tells the ranks of `make_case` what to do; `begun` is what one rank made of the case."""
    document = {"case": asdict(case), "base": str(models.base), "teacher": str(models.teacher), "begun": asdict(begun)}
    (folder / _ASKED).write_text(json.dumps(document))


def make_case(folder: Path, world: World) -> None:
    """Makes the runs that `ask` asked for in `folder`; what each rank keeps of them goes to `FOLDER/<rank>.json`."""
    asked = json.loads((folder / _ASKED).read_text())
    case, models = Case(**asked["case"]), Models(Path(asked["base"]), Path(asked["teacher"]))
    whole = make(case, models, folder / "whole", world, artifact=folder / ARTIFACT)
    # Which checkpoints there are is told to the coordinator, and by it to the ranks of the next attempt.
    own, others = world.first(whole.checkpoints), asked["begun"]["checkpoints"]
    resumed = make(case, models, folder / "resumed", world, earlier=first_of(own))
    taken_over = make(case, models, folder / "taken over", world, earlier=first_of(others))
    write(folder / f"{world.rank}.json", {"whole": whole, "resumed": resumed, "taken over": taken_over})


def first_of(checkpoints: Sequence[Mapping[str, Any]]) -> list[Checkpoint]:
    """The one that others go on from, out of `Kept.checkpoints`."""
    return [Checkpoint(**one) for one in checkpoints if one["step"] == FIRST]
