"""The core under a thousand seeds of faults; each failure names its seed and how to see it again."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coordinator.facts import Resumed
from coordinator.lifecycle import REPEAT, TRANSITIONS, StageState
from tests.simulation.simulate import SeedFailedError, simulate, simulate_all

NUM_SEEDS = 1000
NUM_SEEDS_PER_TEST = 100
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("first", range(0, NUM_SEEDS, NUM_SEEDS_PER_TEST))
def test_whatever_goes_wrong_everything_ends_well(first: int) -> None:
    assert simulate_all(range(first, first + NUM_SEEDS_PER_TEST)) == NUM_SEEDS_PER_TEST


def test_a_seed_has_one_trace_in_every_process() -> None:
    here = simulate(7)
    assert simulate(7) == here
    assert simulate(8) != here
    code = "from tests.simulation.simulate import simulate; print(simulate(7))"
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


def test_a_fault_of_the_core_is_found_and_says_how_to_see_it_again(monkeypatch: Any) -> None:
    monkeypatch.setitem(TRANSITIONS, (StageState.PAUSED, Resumed), REPEAT)
    with pytest.raises(SeedFailedError, match=r"python -m tests\.simulation --first \d+ --trace"):
        simulate_all(range(100))


def test_calls_share_transactions_and_workers_go_on_without_a_wake_up() -> None:
    lines: list[str] = []
    for seed in range(60):
        simulate(seed, log=lines)
    assert sum("together" in line for line in lines) > 5
    assert sum("goes on with" in line for line in lines) > 10


def test_gangs_of_several_workers_form() -> None:
    lines: list[str] = []
    for seed in range(30):
        simulate(seed, log=lines)
    assert sum(" is 1 of " in line for line in lines) > 10
