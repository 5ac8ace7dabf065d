"""Every method with every objective: each pair trains and resumes to the bit, or the job file is refused with words.

One rank does so here; two in test_on_ranks.py. What a method saves stands in test_matrix.py.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from luthier.errors import InvalidSpecError
from luthier.spec import MethodSpec, ObjectiveSpec, parse_spec
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.pairings import (
    FIRST,
    PAIRED,
    PAIRS,
    REFUSED,
    STEPS,
    Models,
    adapt_pair,
    engine_of_pair,
)
from tests.unit.workers.training.methods.rows import ROWS
from tests.unit.workers.training.tiny_run import Outcome, Recorder, same, weights
from workers.training.methods import METHODS


class Watcher(Recorder):
    """Besides, it looks at the weights after every step: what a method does after the last one is another thing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._model = model
        self._before, self._frozen = weights(model), frozen(model)
        self.still = set(self._before)
        """Trained weights that never moved."""
        self.is_frozen = True
        """Whether the others never did."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        super().metrics(step, values)
        if "loss" in values:
            now = weights(self._model)
            self.still -= {name for name in self.still if not torch.equal(now[name], self._before[name])}
            self.is_frozen = self.is_frozen and same(frozen(self._model), self._frozen)


def frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named if not tensor.requires_grad}


def run(
    name: str, objective: str, models: Models, folder: Path, earlier: Sequence[Checkpoint] = ()
) -> tuple[Outcome, Watcher]:
    """Trains by the rows of those names as the train stage does, from the start or the newest of `earlier`."""
    adapted = adapt_pair(ROWS[name], objective, models)
    report = Watcher(adapted.model)
    engine = engine_of_pair(ROWS[name], objective, adapted, models, folder, report, earlier=earlier)
    return Outcome.of(engine, adapted.model), report


def types_of(sections: Any) -> set[str]:
    """The values of `type` in a section of which there are several kinds."""
    union, *_ = get_args(sections)
    return {get_args(section.model_fields["type"].annotation)[0] for section in get_args(union)}


def test_no_method_and_no_objective_is_left_out() -> None:
    methods = {ROWS[name].section["type"] for name in PAIRED}
    assert methods == types_of(MethodSpec) == METHODS.keys()
    assert {learned.section["type"] for learned in LEARNED.values()} | {"grpo"} == types_of(ObjectiveSpec), (
        "which has a loop of its own: ../grpo"
    )
    assert all(ROWS[name].section["type"] in name for name in PAIRED)


@pytest.mark.parametrize(("name", "objective"), [*product(PAIRED, LEARNED)])
def test_a_pair_is_refused_only_if_the_table_says_so(name: str, objective: str) -> None:
    sections = {"method": dict(ROWS[name].section), "objective": dict(LEARNED[objective].section)}
    job = json.dumps({"name": "job", "base_model": "m", "data": {"path": "rows.jsonl"}, **sections})
    if (name, objective) in REFUSED:
        with pytest.raises(InvalidSpecError, match=REFUSED[name, objective]):
            parse_spec(job)
    else:
        parse_spec(job)


@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_a_pair_trains_and_resumes_to_the_bit(tmp_path: Path, models: Models, name: str, objective: str) -> None:
    whole, report = run(name, objective, models, tmp_path / "whole")
    assert len(whole.rows) == STEPS
    assert all(row["loss"] < 100 and row["grad_norm"] > 0 for row in whole.rows)
    assert report.is_frozen
    assert not report.still

    torch.rand(17)  # a new process would not find the generator where the old one left it
    (first,) = (checkpoint for checkpoint in report.checkpoints if checkpoint.step == FIRST)
    resumed, _ = run(name, objective, models, tmp_path / "resumed", [first])
    assert resumed == whole
