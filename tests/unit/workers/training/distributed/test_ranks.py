"""Two real ranks make the run of one: the same losses, the same weights, and checkpoints that either can go on from."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.unit.workers.training.distributed.runs import NUM_STEPS, RESUMED, RUNS, STOP_AT, Kept, make, read

pytestmark = pytest.mark.slow

FP32, BF16 = 1e-5, 1e-3
"""Relative difference of a loss on one rank and on two: sums are taken in another order."""
ROOT = Path(__file__).parents[5]


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
def ranks(tmp_path_factory: pytest.TempPathFactory, alone: Mapping[str, Kept]) -> list[dict[str, Kept]]:
    """The same runs of two, as each rank has seen them."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "alone.json").write_text(json.dumps({"full": asdict(alone["full, stopped"])}))
    argv = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    script = Path(__file__).with_name("ranks.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*argv, str(script), str(folder)], env=environment, stderr=subprocess.PIPE, timeout=180, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
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
    assert others == ({weight: [] for weight in whole} if "zero 3" in name else whole), "stage 3 leaves them divided"
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


def test_what_one_rank_began_two_finish(alone: Mapping[str, Kept], ranks: list[dict[str, Kept]]) -> None:
    assert alone["full, stopped"].rows == []
    check_same_curve(ranks[0]["full, grown"], alone["full"], FP32)
