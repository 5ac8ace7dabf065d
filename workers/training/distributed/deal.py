"""Who computes what of an optimizer step. Pure: every rank knows the passes of all, so nothing has to be said."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from workers.training.packing import split_pass


@dataclass(frozen=True)
class Hand:
    """What one rank computes of a step."""

    passes: list[list[int]]
    """Samples of each forward pass; may be empty."""
    num_rounds: int
    """Forward passes of the rank that has most: the others take part in what is agreed between them."""


def deal(
    micro_batches: Sequence[Sequence[int]],
    lengths: Sequence[int],
    prefix_length: int,
    *,
    refit: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
) -> Hand:
    """The part of `rank` in a step whose forward passes on one rank would be `micro_batches`.

    If they come out even they are dealt as they are. Else their samples are dealt anew, so that no rank waits while
    another computes: longest first, each to the pass that has least.

    Args:
        micro_batches: samples of each forward pass, indices into `lengths`.
        lengths: tokens of each sample after the shared prefix.
        prefix_length: tokens of the shared prefix, which stands in every pass.
        refit: how often a pass is halved for want of memory.
        rank: whose part.
        num_ranks: of how many.
    """
    even = len(micro_batches) % num_ranks == 0
    passes = [list(batch) for batch in micro_batches] if even else _levelled(micro_batches, lengths, num_ranks)
    hands = [
        [part for whole in passes[r::num_ranks] for part in split_pass(whole, lengths, prefix_length, refit)]
        for r in range(num_ranks)
    ]
    return Hand(hands[rank], max(map(len, hands)))


def _levelled(micro_batches: Sequence[Sequence[int]], lengths: Sequence[int], num_ranks: int) -> list[list[int]]:
    """As many passes as come out even, about equally long. (Graham, 1969: longest processing time first.)"""
    samples = [sample for batch in micro_batches for sample in batch]
    num_passes = -(-len(micro_batches) // num_ranks) * num_ranks
    loads = [(0, place) for place in range(num_passes)]
    passes: list[list[int]] = [[] for _ in range(num_passes)]
    for sample in sorted(samples, key=lambda index: -lengths[index]):
        load, place = heapq.heappop(loads)
        passes[place].append(sample)
        heapq.heappush(loads, (load + lengths[sample], place))
    return [part for part in passes if part]
