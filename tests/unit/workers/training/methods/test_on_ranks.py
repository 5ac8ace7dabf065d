"""Every pair of pairings.py on two ranks: it has the figures of one rank, and either goes on with what the other began.

What divides the trained state does so for every objective.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from luthier.errors import InvalidSpecError
from luthier.spec import parse_spec
from tests.unit.workers.training.conftest import Launch
from tests.unit.workers.training.distributed.runs import Kept, read
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.on_ranks import ARTIFACT, CASES, STRATEGIES, Case, ask, first_of, make
from tests.unit.workers.training.methods.pairings import PAIRED, REFUSED, STEPS, Models

pytestmark = pytest.mark.slow

REL, ABS = 1e-5, 5e-5
"""How far a figure on two ranks may be from that on one, in fp32: sums are taken in another order. The loss keeps to
the first; some other figures are small differences of log-probabilities, which are about 30."""
WEIGHT_REL = 1e-3
"""How far a tensor may be, by norms. Of single weights little can be said: where a gradient is about zero, Adam makes a
whole step of what rounding left of it. Three steps of training change a tensor hundreds of times as much."""


@dataclass(frozen=True)
class Made:
    """What came of a case. Its runs are called `whole`, `resumed` and `taken over`; see on_ranks.py."""

    alone: Kept
    """By one rank."""
    shrunk: Kept
    """What two ranks began, gone on with by one."""
    ranks: Sequence[Mapping[str, Kept]]
    """The runs of two, as each of them has seen them."""
    artifacts: tuple[Path, Path]
    """Of one rank and of two."""


@pytest.fixture(scope="module", params=CASES, ids=str)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Models, launch: Launch
) -> Made:
    """The runs of a case."""
    case: Case = request.param
    folder = tmp_path_factory.mktemp("case")
    alone = make(case, models, folder / "alone", artifact=folder / "artifact of one")
    ask(case, models, folder, alone)
    assert launch(2, "tests.unit.workers.training.methods.on_ranks:make_case", folder) == [0, 0]
    ranks = [read(folder / f"{rank}.json") for rank in range(2)]
    begun = first_of(ranks[0]["whole"].checkpoints)
    shrunk = make(case, models, folder / "shrunk", earlier=begun)
    return Made(alone, shrunk, ranks, (folder / "artifact of one", folder / ARTIFACT))


def test_two_ranks_have_the_figures_of_one_and_the_same_to_the_bit(made: Made) -> None:
    one, other = (rank["whole"] for rank in made.ranks)
    assert one.rows == other.rows
    assert all(one.weights.values())
    assert other.weights.keys() == one.weights.keys()
    assert all(digest in ("", one.weights[name]) for name, digest in other.weights.items())
    check_same_curve(one, made.alone)


def test_resumed_by_as_many_ranks_it_is_bit_equal(made: Made) -> None:
    for rank in made.ranks:
        assert rank["resumed"].rows == rank["whole"].rows
        assert rank["resumed"].weights == rank["whole"].weights


def test_what_one_rank_began_two_finish(made: Made) -> None:
    check_same_curve(made.ranks[0]["taken over"], made.alone)


def test_what_two_ranks_began_one_finishes(made: Made) -> None:
    check_same_curve(made.shrunk, made.alone)


def test_two_ranks_save_what_one_saves(made: Made) -> None:
    """Nothing of how they shared it is left in the model: its names, its shapes, its classes."""
    by_one, by_two = (files_of(folder) for folder in made.artifacts)
    assert by_one.keys() == by_two.keys()
    for name, path in by_one.items():
        if path.name == "adapter_config.json":
            assert config_in(path) == config_in(by_two[name])
            continue
        if path.suffix != ".safetensors":
            assert path.read_bytes() == by_two[name].read_bytes()
            continue
        one, other = load_file(path), load_file(by_two[name])
        assert one.keys() == other.keys()
        for key, tensor in one.items():
            expected = tensor.double()  # indices among them
            assert (other[key].double() - expected).norm() <= WEIGHT_REL * expected.norm(), key


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("method", PAIRED)
def test_a_job_for_two_ranks_is_refused_unless_the_runs_above_are_made(method: str, strategy: str) -> None:
    """By accumulated gradient, its default, SpIEL is for one rank alone."""
    resources = {"num_ranks": 2, "distributed": STRATEGIES[strategy].model_dump()}
    for objective in LEARNED:
        case = Case(method, objective, strategy)
        sections = {"method": dict(case.row.section), "objective": dict(LEARNED[objective].section)}
        plain = {"name": "job", "base_model": "m", "data": {"path": "rows.jsonl"}, "resources": resources}
        if case in CASES:
            parse_spec(json.dumps(plain | sections))
            continue
        divided = rf"resources\.distributed\.type {STRATEGIES[strategy].type} divides.* take .*ddp"
        with pytest.raises(InvalidSpecError, match=divided if case.is_divided else REFUSED[method, objective]):
            parse_spec(json.dumps(plain | sections))


def check_same_curve(one: Kept, other: Kept) -> None:
    assert len(one.rows) == len(other.rows) == STEPS
    for row, same in zip(one.rows, other.rows, strict=True):
        assert row["loss"] == pytest.approx(same["loss"], rel=REL)
        assert row == pytest.approx(same, rel=REL, abs=ABS)


def files_of(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def config_in(path: Path) -> dict[str, Any]:
    """PEFT's, whose lists are sets: each process has an order of its own."""
    config: dict[str, Any] = json.loads(path.read_text())
    return {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
