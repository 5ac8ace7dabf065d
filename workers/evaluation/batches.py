"""Rows of similar length together, so that little of a batch is padding."""

from collections.abc import Iterator, Sequence

import torch

_MAX_ROWS = 64


def batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices of rows in batches of up to `max_tokens` tokens, padding counted; the longest rows come first.

    Longest first, because what does not fit into memory then fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, min(_MAX_ROWS, max_tokens // max(1, lengths[order[start]])))
        yield order[start : start + size]
        start += size


def pad_left(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both int64 [num_rows, longest], every row ending in the last column."""
    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    for index, row in enumerate(rows):
        input_ids[index, width - len(row) :] = torch.tensor(row, dtype=torch.int64)
        mask[index, width - len(row) :] = 1
    return input_ids.to(device), mask.to(device)


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """Position ids of left-padded rows, same shape as `mask`: 0 at the first token that is none of the padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)
