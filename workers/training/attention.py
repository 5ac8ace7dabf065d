"""Attention inside documents that lie end to end in one row, as an implementation that transformers can select.

A block-diagonal mask costs T x T per row, and on a CPU one kernel call per short document is several times slower in
the backward pass than one for all. So documents of similar length are laid side by side in a small padded batch,
where plain causal attention does the rest: padding stands behind each document, so nothing real ever looks at it.
Up to `_MATMUL_LENGTH` tokens, on a CPU, explicit matrix products beat the fused kernel.

The layout is made once per batch and handed to every layer as the keyword argument `documents`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

IMPLEMENTATION = "luthier_documents"
_MATMUL_LENGTH = 256


@dataclass(frozen=True)
class Group:
    """Documents of similar length, side by side."""

    num_documents: int
    length: int
    """Tokens of the longest one; the others are padded to it."""
    tokens: torch.Tensor
    """int64 [tokens of this group]: where they are in the row."""
    slots: torch.Tensor
    """int64, same shape: where they go in the padded batch [num_documents * length]."""


@dataclass(frozen=True)
class Documents:
    """The layout of one row."""

    groups: tuple[Group, ...]
    restore: torch.Tensor
    """int64 [T]: puts the groups' outputs, one after the other, back into the order of the row."""


def layout(lengths: Sequence[int], device: torch.device) -> Documents:
    """The layout of documents with these lengths: one group per power of two, so at most half of it is padding."""
    starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
    members: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        members.setdefault((length - 1).bit_length(), []).append(index)
    groups = []
    for indices in members.values():
        longest = max(lengths[index] for index in indices)
        tokens = torch.cat([torch.arange(starts[index], starts[index + 1]) for index in indices])
        slots = torch.cat([torch.arange(lengths[index]) + place * longest for place, index in enumerate(indices)])
        groups.append(Group(len(indices), longest, tokens.to(device), slots.to(device)))
    restore = torch.argsort(torch.cat([group.tokens for group in groups]))
    return Documents(tuple(groups), restore)


def register() -> str:
    """Makes the implementation known to transformers and returns its name. Calling it again changes nothing."""
    AttentionInterface.register(IMPLEMENTATION, document_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, _no_mask)
    return IMPLEMENTATION


def document_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    documents: Documents,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document.

    Args:
        module: the attention layer; not used.
        query: [1, heads, T, head_dim]
        key: [1, key heads, T, head_dim]; heads is a multiple of key heads (Ainslie et al., 2023, arXiv:2305.13245).
        value: like `key`.
        attention_mask: must be None; the layout says what may be seen.
        documents: the row's layout.
        scaling: of the scores; None: 1 / sqrt(head_dim).
        dropout: must be zero; frozen models are trained without attention dropout.

    Returns:
        [1, T, heads, head_dim] and None for the weights.
    """
    assert attention_mask is None, "the layout of documents replaces the mask"
    assert dropout == 0.0, "attention dropout is not implemented"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    outputs = []
    for group in documents.groups:
        padded = [_pad(tensor, group) for tensor in (query, key, value)]
        attend = _by_matmul if query.device.type == "cpu" and group.length <= _MATMUL_LENGTH else _by_kernel
        output = attend(padded[0], padded[1], padded[2], scale)
        outputs.append(output.transpose(1, 2).flatten(0, 1).index_select(0, group.slots))
    return torch.cat(outputs).index_select(0, documents.restore)[None], None


def _pad(tensor: torch.Tensor, group: Group) -> torch.Tensor:
    """[1, heads, T, head_dim] -> [documents, heads, length, head_dim]; the padding is zero."""
    rows = tensor[0].transpose(0, 1).index_select(0, group.tokens)
    padded = rows.new_zeros(group.num_documents * group.length, *rows.shape[1:]).index_copy(0, group.slots, rows)
    return padded.view(group.num_documents, group.length, *rows.shape[1:]).transpose(1, 2)


def _by_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """PyTorch's fused attention: flash on a GPU, blocked on a CPU."""
    grouped = query.shape[1] != key.shape[1]
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)


def _by_matmul(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """The same written out, softmax in fp32. Query heads that share a key head form one taller matrix."""
    num_documents, heads, length, head_dim = query.shape
    key_heads = key.shape[1]
    shared = heads // key_heads
    stacked = (query * scale).reshape(num_documents * key_heads, shared * length, head_dim)
    scores = torch.bmm(stacked, key.reshape(-1, length, head_dim).transpose(1, 2)).float()
    future = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = scores.view(-1, shared, length, length).masked_fill(future, float("-inf"))
    weights = scores.softmax(-1).to(value.dtype).view(-1, shared * length, length)
    return torch.bmm(weights, value.reshape(-1, length, head_dim)).view(num_documents, heads, length, head_dim)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout replaces the mask, so none is built."""
