"""Two real ranks that read their part of the weights alone: the run is the one of ranks that read all, and of one."""

import json

import pytest

from tests.unit.workers.training.distributed.late import CASES, save_models, train

pytestmark = pytest.mark.slow

FP32, BF16 = 1e-5, 1e-3
"""Relative difference of a loss on one rank and on two: sums are taken in another order."""
RANKS = "tests.unit.workers.training.distributed.late"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("late")
    save_models(path / "models", num_ranks=2)
    return path


@pytest.fixture(scope="module")
def ranks(folder, launch):
    """What each of two ranks has seen of the runs."""
    assert launch(2, f"{RANKS}:train_all", folder) == [0, 0]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_the_run_is_that_of_ranks_that_read_all_to_the_last_bit(ranks, name):
    """Of FSDP each rank's files have nothing but its rows, of ZeRO those of rank 0 alone have anything."""
    for rank in ranks:
        assert rank[name]["late"] == rank[name]["early"]
    assert all(ranks[0][name]["late"]["weights"].values())


@pytest.mark.parametrize("name", CASES)
def test_the_loss_curve_is_that_of_one_rank(ranks, folder, name):
    alone = train(name, folder / "models", folder / f"{name}, alone")
    rel = BF16 if "bf16" in name else FP32
    for row, same in zip(ranks[0][name]["late"]["rows"], alone["rows"], strict=True):
        for loss in row.keys() & {"loss", "validation_loss"}:
            assert row[loss] == pytest.approx(same[loss], rel=rel)
    if not CASES[name].has_head:  # which begins by lot, and has seen few rows after four steps
        assert alone["rows"][-1]["loss"] < alone["rows"][0]["loss"]


def test_all_that_a_rank_makes_is_its_share(folder, launch):
    assert launch(2, f"{RANKS}:divide_only", folder) == [0, 0]
    for rank in range(2):
        made, kept, whole = json.loads((folder / f"{rank}.bytes").read_text())
        assert kept <= made < 1.05 * kept
        assert kept < 0.51 * whole
