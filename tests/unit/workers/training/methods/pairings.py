"""Every method with every objective: which pairs there are, what a job file is refused for, and the engine of a pair.

One row of rows.py for each method, one of objective_rows.py for each objective.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from torch import nn

from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.rows import ROWS, Row
from tests.unit.workers.training.methods.trained import adapt, engine_of
from tests.unit.workers.training.tiny_run import ALONE, Recorder
from workers.models.tuned import TunedModel
from workers.training.classes import Classes
from workers.training.distributed.strategies import Strategy
from workers.training.distributed.world import World
from workers.training.engine import Engine
from workers.training.heads import put_head, save_head, set_output
from workers.training.methods import METHODS

PAIRED = [*dict.fromkeys(row.section["type"] for row in ROWS.values()), "lora-pissa"]
"""Rows: the first one of each method, which is called as the method is, and one that changes frozen weights."""
_WITH_HEAD = ("classification", "multi-label", "reward")
REFUSED: dict[tuple[str, str], str] = {
    (method, objective): rf"objective\.type {LEARNED[objective].section['type']} gives .* a head, which .* {method} "
    r"cannot carry; take type: lora"
    for method, objective in product(("bottleneck", "custom", "xlora"), _WITH_HEAD)
}
"""Pairs that the job file is refused for, and what is said: field, reason and remedy. All others train."""
PAIRS = [pair for pair in product(PAIRED, LEARNED) if pair not in REFUSED]
STEPS, FIRST = 3, 1
"""Optimizer steps of a run, and the one whose checkpoint others go on from."""
_NUM_ROWS = 16
"""Of the training split. Texts make three packs: the second step has one forward pass, which two ranks share."""
_TRAINING = {"max_steps": STEPS, "save_steps": 1, "eval_steps": 2, "pack_length": 64, "gradient_accumulation_steps": 2}


@dataclass(frozen=True)
class Models:
    """Folders that every process reads."""

    base: Path
    teacher: Path


@dataclass(frozen=True)
class Adapted:
    """A base model as a method makes it trainable, with the objective's head if it has one."""

    model: TunedModel
    classes: Classes | None
    """What the head scores, if it has one."""
    replaced: nn.Module | None
    """The output layer that the head is in place of."""


def adapt_pair(row: Row, objective: str, models: Models) -> Adapted:
    """The same one each time, wherever the generators stand."""
    model = adapt(row, models.base)
    learned = LEARNED[objective]
    classes = learned.classes(learned.make_rows(_NUM_ROWS, 0))
    return Adapted(model, classes, None if classes is None else put_head(model, len(classes.labels)))


def engine_of_pair(
    row: Row,
    objective: str,
    adapted: Adapted,
    models: Models,
    folder: Path,
    report: Recorder,
    *,
    earlier: Sequence[Checkpoint] = (),
    world: World = ALONE,
    strategy: Strategy | None = None,
) -> Engine:
    """An engine for what `adapt_pair` returned, from the start or the newest of `earlier`."""
    learned = LEARNED[objective]
    folder.mkdir(parents=True, exist_ok=True)
    return engine_of(
        row,
        adapted.model,
        folder,
        report,
        earlier=earlier,
        fence=1 + len(earlier),
        training=_TRAINING,
        objective=learned.make(models.teacher, folder),
        train=learned.make_rows(_NUM_ROWS, 0),
        validation=learned.make_rows(4, 9),
        world=world,
        strategy=strategy,
    )


def save_pair(row: Row, adapted: Adapted, models: Models, folder: Path) -> None:
    """Makes `folder` a train artifact, as the train stage does."""
    folder.mkdir()
    if adapted.classes is not None and adapted.replaced is not None:
        save_head(adapted.model, adapted.classes, folder)
        set_output(adapted.model, adapted.replaced)
    METHODS[row.section["type"]].save(adapted.model, models.base, folder)
