"""Two real ranks make the run of one: the same losses, the same weights, and checkpoints that either can go on from."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.conftest import Launch
from tests.unit.workers.training.distributed.runs import (
    HANDED_ON,
    NUM_STEPS,
    RESUMED,
    RUNS,
    STOP_AT,
    Kept,
    make,
    read,
    write,
)
from tests.unit.workers.training.tiny_run import Recorder, make_store

pytestmark = pytest.mark.slow

FP32, BF16 = 1e-5, 1e-3
"""Relative difference of a loss on one rank and on two: sums are taken in another order."""
RANKS = "tests.unit.workers.training.distributed.ranks"


def tolerance(name: str) -> float:
    return BF16 if "bf16" in name else FP32


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """The runs of one rank."""
    folder = tmp_path_factory.mktemp("alone")
    kept = {name: make(name, folder / name) for name in RUNS}
    kept["full, stopped"] = make("full", folder / "full, stopped", stop_at=STOP_AT)
    return kept


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory, alone: Mapping[str, Kept], launch: Launch) -> list[dict[str, Kept]]:
    """The same runs of two, as each rank has seen them."""
    folder = tmp_path_factory.mktemp("ranks")
    write(folder / "alone.json", {"alone": alone["full, stopped"]})
    assert launch(2, f"{RANKS}:make_runs", folder) == [0, 0]
    return [read(folder / f"{rank}.json") for rank in range(2)]


def check_same_curve(one: Kept, other: Kept, rel: float) -> None:
    assert len(one.rows) == len(other.rows) == NUM_STEPS
    for row, same in zip(one.rows, other.rows, strict=True):
        assert row.keys() == same.keys()
        assert row["learning_rate"] == same["learning_rate"]
        assert row.get("skipped_steps") == same.get("skipped_steps")
        if "skipped_steps" not in row:
            assert row["loss"] == pytest.approx(same["loss"], rel=rel)
        if "validation_loss" in row:
            assert row["validation_loss"] == pytest.approx(same["validation_loss"], rel=rel)


@pytest.mark.parametrize("name", [name for name in RUNS if "dropout" not in name])
def test_two_ranks_have_the_loss_curve_of_one(
    alone: Mapping[str, Kept], ranks: list[dict[str, Kept]], name: str
) -> None:
    check_same_curve(ranks[0][name], alone[name], tolerance(name))
    assert alone[name].rows[-1]["loss"] < alone[name].rows[0]["loss"]


@pytest.mark.parametrize("name", RUNS)
def test_all_ranks_have_the_same_weights_to_the_last_bit(ranks: list[dict[str, Kept]], name: str) -> None:
    whole, others = ranks[0][name].weights, ranks[1][name].weights
    assert all(whole.values())
    left_divided = "zero 3" in name or "fsdp" in name
    assert others == (dict.fromkeys(whole, "") if left_divided else whole)
    assert ranks[0][name].rows == ranks[1][name].rows


@pytest.mark.parametrize("name", RUNS)
def test_the_first_rank_commits_and_reports(ranks: list[dict[str, Kept]], name: str) -> None:
    assert [checkpoint["step"] for checkpoint in ranks[0][name].checkpoints] == [6, 3]
    assert ranks[1][name].checkpoints == []
    manifest = json.loads((Path(ranks[0][name].checkpoints[0]["uri"]) / "manifest.json").read_text())
    assert manifest["extra"]["world_size"] == 2


@pytest.mark.parametrize("name", RESUMED)
def test_stopped_and_resumed_by_as_many_ranks_it_is_bit_equal(ranks: list[dict[str, Kept]], name: str) -> None:
    """Only the last rank was asked to stop, and all did, before the same forward pass."""
    [checkpoint] = [one for one in ranks[0][f"{name}, stopped"].checkpoints if one["step"] not in (3, 6)]
    assert checkpoint["step"] < NUM_STEPS
    for rank in ranks:
        assert rank[f"{name}, resumed"].weights == rank[name].weights
        assert rank[f"{name}, resumed"].rows == rank[name].rows


@pytest.mark.parametrize("name", [name for name in RESUMED if "dropout" not in name])
def test_what_two_ranks_began_one_finishes(
    tmp_path: Path, alone: Mapping[str, Kept], ranks: list[dict[str, Kept]], name: str
) -> None:
    """Whatever their strategy was: a checkpoint has whole weights under their own names."""
    shrunk = make(name, tmp_path, earlier=ranks[0][f"{name}, stopped"].earlier(), fence=3)
    check_same_curve(shrunk, alone[name], FP32)


@pytest.mark.parametrize(("begun", "name"), [(begun, name) for begun, names in HANDED_ON.items() for name in names])
def test_what_one_strategy_began_another_finishes(
    alone: Mapping[str, Kept], ranks: list[dict[str, Kept]], begun: str, name: str
) -> None:
    """On two ranks each, but for what one rank alone began."""
    check_same_curve(ranks[0][f"{name}, after {begun}"], alone[name], FP32)


def test_two_ranks_hand_on_to_one_and_that_to_three(
    tmp_path: Path, alone: Mapping[str, Kept], ranks: list[dict[str, Kept]], launch: Launch
) -> None:
    """32 rows are no multiple of three: the last rank has fewer of them."""
    first = ranks[0]["full, fsdp"].earlier()[-1]
    second = make("full, fsdp", tmp_path / "second", earlier=[first], fence=2, stop_at=3)
    assert first.step < second.checkpoints[0]["step"] < NUM_STEPS
    write(tmp_path / "begun.json", {"full, fsdp": second, "full, zero 2": second})
    assert launch(3, f"{RANKS}:finish_runs", tmp_path) == [0, 0, 0]
    for kept in read(tmp_path / "0.json").values():
        check_same_curve(kept, alone["full"], FP32)


def test_a_rank_that_dies_while_it_writes_leaves_the_checkpoint_before(
    tmp_path: Path, alone: Mapping[str, Kept], launch: Launch
) -> None:
    statuses = launch(2, f"{RANKS}:die_while_writing", tmp_path)
    assert statuses[1] == -9
    assert statuses[0] != 0
    folder = tmp_path / "checkpoints"
    assert (folder / "3.1" / "manifest.json").is_file()
    assert not (folder / "6.1").exists()
    told = [Checkpoint(uri=str(folder / f"{step}.1"), step=step) for step in (6, 3)]
    found = make_store(tmp_path, Recorder(), earlier=told).load_newest()
    assert found is not None
    assert found.progress.step == 3
    assert not (folder / "6.1.tmp").exists(), "what was left of it is cleared away"
    check_same_curve(make("full, fsdp", tmp_path / "next", earlier=told, fence=2), alone["full"], FP32)
