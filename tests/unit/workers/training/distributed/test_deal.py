"""Who computes what: every sample once, whatever the number of ranks, and none waits long for another."""

import pytest

from workers.training.distributed.deal import Hand, deal

LENGTHS = [7, 3, 9, 4, 5, 8, 6, 2, 10, 1]
EVEN = [[0, 1], [2, 3], [4, 5], [6, 7]]


def hands(micro_batches: list[list[int]], num_ranks: int, refit: int = 0) -> list[Hand]:
    return [deal(micro_batches, LENGTHS, 0, refit=refit, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]


def test_one_rank_gets_the_passes_as_they_are() -> None:
    assert hands(EVEN, 1) == [Hand(EVEN, 4)]


def test_what_comes_out_even_is_dealt_as_it_is() -> None:
    assert [hand.passes for hand in hands(EVEN, 2)] == [[[0, 1], [4, 5]], [[2, 3], [6, 7]]]


@pytest.mark.parametrize("refit", [0, 1])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("micro_batches", [EVEN, [list(range(10))], [[0], [1], [2]]])
def test_every_sample_is_dealt_once(micro_batches: list[list[int]], num_ranks: int, refit: int) -> None:
    dealt = hands(micro_batches, num_ranks, refit)
    samples = [sample for hand in dealt for part in hand.passes for sample in part]
    assert sorted(samples) == sorted(sample for batch in micro_batches for sample in batch)
    assert {hand.num_rounds for hand in dealt} == {max(len(hand.passes) for hand in dealt)}


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_a_single_row_is_shared_by_its_tokens(num_ranks: int) -> None:
    loads = [sum(LENGTHS[i] for part in hand.passes for i in part) for hand in hands([list(range(10))], num_ranks)]
    assert max(loads) <= 1.2 * sum(LENGTHS) / num_ranks


def test_more_ranks_than_samples_leave_some_without_any() -> None:
    dealt = hands([[0], [1]], 3)
    assert [len(hand.passes) for hand in dealt] == [1, 1, 0]
    assert [hand.num_rounds for hand in dealt] == [1, 1, 1]
