"""The order of the data is a function of seed, epoch and step alone."""

from typing import Literal

import numpy as np
import pytest

from luthier.spec import TrainingSpec
from workers.failures import DataError
from workers.training.sampler import Position, Sampler

LENGTHS = [5 + (7 * index) % 11 for index in range(50)]


def make_sampler(
    seed: int = 1,
    *,
    packing: bool = True,
    rows: int = 2,
    accumulation: int = 2,
    order: Literal["shuffled", "as_given", "short_first"] = "shuffled",
) -> Sampler:
    spec = TrainingSpec(
        seed=seed,
        packing=packing,
        pack_length=32,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=2.5,
        order=order,
    )
    return Sampler(LENGTHS, 32, spec)


def epoch_of(sampler: Sampler, epoch: int) -> list[int]:
    steps = range(epoch * sampler.steps_per_epoch, (epoch + 1) * sampler.steps_per_epoch)
    return [document for step in steps for batch in sampler.micro_batches(step) for document in batch]


def test_every_document_once_per_epoch_in_another_order() -> None:
    sampler = make_sampler()
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_a_step_deals_the_same_whatever_was_asked_before() -> None:
    straight, jumping = make_sampler(), make_sampler()
    late = 2 * straight.steps_per_epoch + 1
    expected = [straight.micro_batches(step) for step in range(late + 1)]
    assert jumping.micro_batches(late) == expected[late]
    assert jumping.micro_batches(1) == expected[1]
    assert make_sampler(seed=2).micro_batches(0) != expected[0]


def test_without_packing_each_document_is_a_row() -> None:
    sampler = make_sampler(packing=False, rows=3, accumulation=2)
    assert [len(batch) for batch in sampler.micro_batches(0)] == [3, 3]
    assert [len(batch) for batch in sampler.micro_batches(8)] == [2]
    assert sampler.steps_per_epoch == 9
    assert sampler.num_steps == 23


def test_position_counts_epochs_and_rows() -> None:
    sampler = make_sampler(packing=False, rows=3, accumulation=2)
    assert sampler.position(8) == Position(epoch=0, row=48)
    assert sampler.position(9) == Position(epoch=1, row=0)


@pytest.mark.parametrize("packing", [True, False])
def test_as_given_is_as_given_in_every_epoch(packing: bool) -> None:
    sampler = make_sampler(packing=packing, order="as_given")
    assert epoch_of(sampler, 0) == epoch_of(sampler, 1) == list(range(50))


@pytest.mark.parametrize("packing", [True, False])
def test_short_ones_come_first_and_equal_ones_in_another_order(packing: bool) -> None:
    sampler = make_sampler(packing=packing, order="short_first")
    first, second = epoch_of(sampler, 0), epoch_of(sampler, 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert [LENGTHS[index] for index in first] == [LENGTHS[index] for index in second] == sorted(LENGTHS)
    assert first != second
    assert epoch_of(make_sampler(packing=packing, order="short_first"), 1) == second
    assert epoch_of(make_sampler(seed=2, packing=packing, order="short_first"), 1) != second


@pytest.mark.parametrize("order", ["as_given", "short_first"])
def test_packs_in_an_order_are_as_full_as_the_order_allows(order: Literal["as_given", "short_first"]) -> None:
    sampler = make_sampler(rows=1, accumulation=1, order=order)
    rows = [batch for step in range(sampler.steps_per_epoch) for batch in sampler.micro_batches(step)]
    totals = [sum(LENGTHS[index] for index in row) for row in rows]
    assert max(totals) <= 32
    assert all(total + LENGTHS[later[0]] > 32 for total, later in zip(totals, rows[1:], strict=False))


DIFFICULTIES = np.array([float(index * 7 % 10) if index % 5 else np.nan for index in range(50)])


def _by_difficulty(order: str, seed: int = 1, *, packing: bool = True) -> Sampler:
    spec = TrainingSpec.model_validate({"seed": seed, "packing": packing, "pack_length": 32, "order": order})
    return Sampler(LENGTHS, 32, spec, DIFFICULTIES)


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(("order", "sign"), [("easy_first", 1), ("hard_first", -1)])
def test_rows_come_by_difficulty_and_those_without_it_last(order: str, sign: int, packing: bool) -> None:
    sampler = _by_difficulty(order, packing=packing)
    known = sorted(sign * value for value in DIFFICULTIES if not np.isnan(value))
    epochs = [epoch_of(sampler, epoch) for epoch in (0, 1)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(50))
        assert [sign * DIFFICULTIES[index] for index in epoch[:40]] == known
        assert np.isnan(DIFFICULTIES[epoch[40:]]).all()
    assert epochs[0] != epochs[1], "equal ones are shuffled"
    assert epochs[0] != epoch_of(_by_difficulty(order, 2, packing=packing), 0)


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_a_step_in_an_order_by_difficulty_is_the_same_for_who_resumes_there(order: str) -> None:
    straight, resumed = _by_difficulty(order), _by_difficulty(order)
    expected = [straight.digest(step) for step in range(straight.num_steps)]
    assert [resumed.digest(step) for step in range(straight.num_steps - 1, 4, -1)] == expected[:4:-1]


@pytest.mark.parametrize("difficulties", [None, np.full(50, np.nan)])
def test_an_order_by_difficulty_without_any_is_refused(difficulties: np.ndarray | None) -> None:
    with pytest.raises(DataError, match=r"training\.order is easy_first, and no row .* data\.curriculum"):
        Sampler(LENGTHS, 32, TrainingSpec(pack_length=32, order="easy_first"), difficulties)
