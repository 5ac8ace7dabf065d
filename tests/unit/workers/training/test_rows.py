"""Rows of a dataset as samples that are made when they are looked at."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from luthier.spec import SftSpec, TrainingSpec
from workers.data.dataset import load_split, write_split
from workers.training.batches import Batches
from workers.training.distributed.world import World
from workers.training.objectives.sft import Sft
from workers.training.packing import FixedBatches, own_lengths
from workers.training.rows import Rows, difficulties_of
from workers.training.samples import Picked

NUM_ROWS, LENGTH = 400, 300


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Every other row compares two answers; some 1.4 MB of tokens and masks."""
    folder: Path = tmp_path_factory.mktemp("rows")
    split = []
    for number in range(NUM_ROWS):
        ids = [number % 50 + 3] * (LENGTH - number % 7)
        row = {"row": number + 1, "source": "a.jsonl", "input_ids": ids, "trainable": [True] * len(ids)}
        if number % 3:
            row["difficulty"] = number / 2
        if number % 2:
            row |= {"rejected_ids": ids[:100], "rejected_trainable": [True] * 100}
        split.append(row)
    write_split(folder, "train", split)
    return Rows(load_split(folder, "train", conversations=False))


def test_a_sample_is_the_same_one_while_somebody_holds_it(rows: Rows) -> None:
    first = rows[1]
    assert rows[1] is first is rows[1 - NUM_ROWS]
    assert (first.number, first.origin, len(first.documents)) == (1, "a.jsonl:2", 2)
    seen = weakref.ref(first)
    del first
    gc.collect()
    assert seen() is None, "nothing else holds it"
    assert [sample.number for sample in rows[3:6]] == [3, 4, 5]
    with pytest.raises(IndexError):
        rows[NUM_ROWS]


def test_lengths_are_those_of_the_rows(rows: Rows) -> None:
    for prefix_length in (0, 9):
        assert own_lengths(rows, prefix_length) == own_lengths([*rows], prefix_length)


def test_difficulties_are_those_of_the_rows_and_order_the_steps(rows: Rows) -> None:
    expected = [number / 2 if number % 3 else np.nan for number in range(NUM_ROWS)]
    np.testing.assert_array_equal(difficulties_of(rows), expected)
    np.testing.assert_array_equal(difficulties_of([*rows]), expected)
    spec = TrainingSpec(packing=False, pack_length=1024, order="hard_first")
    batches = Batches(rows, Sft(SftSpec()), spec, torch.device("cpu"), world=World(), refit=0)
    seen = [sample.number for step in range(batches.steps_per_epoch) for sample in batches.samples(step)]
    assert seen[:4] == [398, 397, 395, 394]
    assert all(number % 3 == 0 for number in seen[-134:])


def test_picked_samples_are_those_of_their_places(rows: Rows) -> None:
    picked = Picked(rows, range(NUM_ROWS - 1, 0, -100))
    assert [sample.number for sample in picked] == [399, 299, 199, 99]
    assert [sample.number for sample in picked[1:3]] == [299, 199]
    assert not Picked(rows, [])


def test_samples_go_with_the_pass_that_they_are_for(rows: Rows) -> None:
    spec = TrainingSpec(pack_length=1024)
    batches = Batches(rows, Sft(SftSpec()), spec, torch.device("cpu"), world=World(), refit=0)
    fixed = FixedBatches(rows, spec, torch.device("cpu"))
    assert len(fixed) > 100
    for make in (lambda: batches.rounds(3)[0], lambda: fixed[7]):
        seen = [weakref.ref(sample) for sample in make().samples]
        assert seen
        assert not any(sample() for sample in seen)
    assert len(batches.visited()) == len(fixed.samples) == NUM_ROWS
