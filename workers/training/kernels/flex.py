"""PyTorch's flex attention (Dong et al., 2024, arXiv:2412.05496), told which blocks of the T x T scores there are.

Which tokens a token sees is a rule, never a mask in memory: what is kept is one number per pair of blocks of 128
tokens. A block that all of its tokens see whole skips the rule. The kernel is compiled when it is first used, so this
is for what FlashAttention does not do, such as fp32. On a CPU the library computes it without gradients only, with the
whole matrix of scores: good for tests.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from workers.training.kernels.contract import Pair, Wanted
from workers.training.layout import Documents
from workers.training.transfer import send

_BLOCK = 128


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    virtual: Pair | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """See `Attend`."""
    assert dropout == 0.0, "this kernel is not chosen for models with attention dropout"
    mask = block_mask(documents, 0 if virtual is None else virtual[0].shape[2])
    if virtual is not None:
        key, value = (
            torch.cat([pair.to(row.dtype), row], dim=2) for pair, row in zip(virtual, (key, value), strict=True)
        )
    compute: Any = _compiled() if query.device.type == "cuda" else flex_attention
    output: torch.Tensor = compute(
        query.to(value.dtype),
        key.to(value.dtype),
        value,
        block_mask=mask,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return output.transpose(1, 2)


@lru_cache(maxsize=2)
def block_mask(documents: Documents, num_virtual: int) -> BlockMask:
    """Which of the T queries see which of the V + T keys, the virtual ones first."""
    lengths = documents.stretches
    prefix_length, num_tokens = documents.prefix_length, sum(lengths)
    starts = torch.tensor([0, *accumulate(lengths)])[:-1].repeat_interleave(torch.tensor(lengths))
    some, whole = _blocks(starts, prefix_length, num_virtual)
    first = send(starts.to(torch.int32), documents.device)
    num_shared = num_virtual + prefix_length

    def sees(_: torch.Tensor, __: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        """Keys of its own document up to itself, and those that all see, of which a token of the prefix is one."""
        own = key - num_virtual
        return (own <= query) & ((own >= first[query]) | (key < num_shared))

    partly, wholly = (_ordered(one, documents.device) for one in (some & ~whole, whole))
    return BlockMask.from_kv_blocks(
        *partly, *wholly, BLOCK_SIZE=_BLOCK, mask_mod=sees, seq_lengths=(num_tokens, num_virtual + num_tokens)
    )


def lacks(wanted: Wanted) -> str | None:
    """Why this kernel cannot be used; None: it can be tried."""
    if wanted.device.type != "cuda":
        return f"has no backward pass on {wanted.device.type}"
    return "drops no attention weights" if wanted.has_dropout else None


def _blocks(starts: torch.Tensor, prefix_length: int, num_virtual: int) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [query blocks, key blocks] twice: where there is something to see, and where all is seen.

    `starts` [T] is where the document of each token begins. Within a block it only rises, so the block's first token
    looks back farthest and its last one least far.
    """
    num_tokens = len(starts)
    top = torch.arange(0, num_tokens, _BLOCK)[:, None]
    bottom = (top + _BLOCK).clamp(max=num_tokens) - 1
    left = torch.arange(0, num_virtual + num_tokens, _BLOCK)[None]
    right = (left + _BLOCK).clamp(max=num_virtual + num_tokens) - 1
    farthest, nearest = num_virtual + starts[top], num_virtual + starts[bottom]
    some = (left < num_virtual + (bottom + 1).clamp(max=prefix_length)) | (
        (right >= farthest) & (left <= num_virtual + bottom)
    )
    is_complete = (bottom - top == _BLOCK - 1) & (right - left == _BLOCK - 1)
    is_shared = right < num_virtual + (top + 1).clamp(max=prefix_length)
    is_own = (left >= nearest) & (right <= num_virtual + top)
    return some, is_complete & (is_shared | is_own)


def _ordered(blocks: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """int32 [1, 1, rows] and [1, 1, rows, columns]: how many blocks of a row are true, and which, those first."""
    numbers = blocks.sum(-1, dtype=torch.int32)
    places = blocks.to(torch.int8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    return send(numbers[None, None], device), send(places[None, None], device)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)
