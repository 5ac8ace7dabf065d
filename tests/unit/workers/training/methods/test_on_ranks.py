"""Every objective and every method on two ranks has the losses that it has on one."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.unit.workers.training.conftest import Launch
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.on_ranks import CASES, NUM_STEPS, Folders, make, read
from workers.training.methods import METHODS

pytestmark = pytest.mark.slow

Rows = Mapping[str, list[dict[str, float]]]


@pytest.fixture(scope="module")
def folders(base_dir: Path) -> Folders:
    """For every process; the base model is its own teacher."""
    return Folders(base=str(base_dir), teacher=str(base_dir))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, folders: Folders, launch: Launch) -> list[Rows]:
    """What each of two ranks has seen of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "folders.json").write_text(json.dumps(asdict(folders)))
    assert launch(2, "tests.unit.workers.training.methods.on_ranks:make_all", folder) == [0, 0]
    return [read(folder / f"{rank}.json") for rank in range(2)]


def test_none_is_left_out() -> None:
    assert CASES.keys() >= {*LEARNED, *METHODS}


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_have_the_losses_of_one(tmp_path: Path, folders: Folders, ranks: list[Rows], name: str) -> None:
    assert ranks[0][name] == ranks[1][name], "the ranks agree to the last bit"
    alone = make(name, folders, tmp_path)
    assert len(alone) == NUM_STEPS
    for row, other in zip(ranks[0][name], alone, strict=True):
        assert row == pytest.approx(other, rel=1e-5, abs=1e-6)
