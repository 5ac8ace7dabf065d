"""Every objective and every method on two ranks has the losses that it has on one."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.workers.training.conftest import Launch
from tests.unit.workers.training.methods.objective_rows import LEARNED
from tests.unit.workers.training.methods.on_ranks import ARTIFACT, CASES, DIVIDED, NUM_STEPS, Folders, make, read
from workers.training.methods import METHODS

pytestmark = pytest.mark.slow

Rows = Mapping[str, list[dict[str, float]]]


@pytest.fixture(scope="module")
def folders(base_dir: Path) -> Folders:
    """For every process; the base model is its own teacher."""
    return Folders(base=str(base_dir), teacher=str(base_dir))


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, folders: Folders, launch: Launch) -> Path:
    """Where two ranks left what came of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "folders.json").write_text(json.dumps(asdict(folders)))
    assert launch(2, "tests.unit.workers.training.methods.on_ranks:make_all", folder) == [0, 0]
    return folder


@pytest.fixture(scope="module")
def ranks(left: Path) -> list[Rows]:
    """What each of them has seen."""
    return [read(left / f"{rank}.json") for rank in range(2)]


def test_none_is_left_out() -> None:
    assert CASES.keys() >= {*LEARNED, *METHODS}


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_have_the_losses_of_one(tmp_path: Path, folders: Folders, ranks: list[Rows], name: str) -> None:
    assert ranks[0][name] == ranks[1][name], "the ranks agree to the last bit"
    alone = make(name, folders, tmp_path)
    assert len(alone) == NUM_STEPS
    for row, other in zip(ranks[0][name], alone, strict=True):
        assert row == pytest.approx(other, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", DIVIDED)
def test_divided_weights_are_saved_as_whole_ones(left: Path, ranks: list[Rows], name: str) -> None:
    """Nothing of the division is left in the model: its names, its shapes, its classes."""
    assert [row["loss"] for row in ranks[0][f"{name}, divided"]] == pytest.approx(
        [row["loss"] for row in ranks[0][name]], rel=1e-5
    )
    whole, divided = left / name / ARTIFACT, left / f"{name}, divided" / ARTIFACT
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert files == [path.relative_to(divided) for path in divided.rglob("*") if path.is_file()]
    (weights,) = (file for file in files if file.suffix == ".safetensors")
    one, other = load_file(whole / weights), load_file(divided / weights)
    assert one.keys() == other.keys()
    assert all(torch.allclose(other[key], tensor, rtol=1e-4, atol=1e-6) for key, tensor in one.items())
