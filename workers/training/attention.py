"""Attention inside documents that lie end to end in one row, as an implementation that transformers can select.

A block-diagonal mask costs T x T per row, and on a CPU one kernel call per short document is several times slower in
the backward pass than one for all. So documents of similar length are laid side by side in a small padded batch,
where plain causal attention does the rest: padding stands behind each document, so nothing real ever looks at it.
A prefix that the documents share is a document of its own, whose keys and values stand before those of every other.
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
    prefix_length: int
    """Tokens at the beginning of the row that each document sees before its own."""


@dataclass(frozen=True)
class Documents:
    """The layout of one row."""

    groups: tuple[Group, ...]
    restore: torch.Tensor
    """int64 [T]: puts the groups' outputs, one after the other, back into the order of the row."""


def layout(lengths: Sequence[int], prefix_length: int, device: torch.device) -> Documents:
    """The layout of a row: the shared prefix, then documents of these lengths.

    One group per power of two of the length, so that less than half of it is padding.
    """
    starts = [prefix_length]
    members: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        starts.append(starts[-1] + length)
        members.setdefault((length - 1).bit_length(), []).append(index)
    groups = []
    if prefix_length:
        whole = torch.arange(prefix_length, device=device)
        groups.append(Group(1, prefix_length, tokens=whole, slots=whole, prefix_length=0))
    for indices in members.values():
        longest = max(lengths[index] for index in indices)
        tokens = torch.cat([torch.arange(starts[index], starts[index + 1]) for index in indices]).to(device)
        slots = torch.cat([torch.arange(lengths[index]) + place * longest for place, index in enumerate(indices)])
        groups.append(Group(len(indices), longest, tokens, slots.to(device), prefix_length))
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
        keys, values = (_after_prefix(tensor, group) for tensor in (key, value))
        attend = _by_matmul if query.device.type == "cpu" and group.length <= _MATMUL_LENGTH else _by_kernel
        output = attend(_pad(query, group), keys, values, scale)
        outputs.append(output.transpose(1, 2).flatten(0, 1).index_select(0, group.slots))
    return torch.cat(outputs).index_select(0, documents.restore)[None], None


def _pad(tensor: torch.Tensor, group: Group) -> torch.Tensor:
    """[1, heads, T, head_dim] -> [documents, heads, length, head_dim]; the padding is zero."""
    rows = tensor[0].transpose(0, 1).index_select(0, group.tokens)
    padded = rows.new_zeros(group.num_documents * group.length, *rows.shape[1:]).index_copy(0, group.slots, rows)
    return padded.view(group.num_documents, group.length, *rows.shape[1:]).transpose(1, 2)


def _after_prefix(tensor: torch.Tensor, group: Group) -> torch.Tensor:
    """Like `_pad`, with the shared prefix before each document: [documents, heads, prefix + length, head_dim]."""
    prefix = tensor[:, :, : group.prefix_length].expand(group.num_documents, -1, -1, -1)
    return torch.cat([prefix, _pad(tensor, group)], dim=2)


def _visible(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """bool [length, prefix + length]: all of the prefix, and the document up to the token itself."""
    length, num_keys = query.shape[2], key.shape[2]
    return torch.ones(length, num_keys, dtype=torch.bool, device=query.device).tril(num_keys - length)


def _by_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """PyTorch's fused attention; without a prefix it needs no mask."""
    square = query.shape[2] == key.shape[2]
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if square else _visible(query, key),
        is_causal=square,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _by_matmul(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """The same written out, softmax in fp32. Query heads that share a key head form one taller matrix."""
    num_documents, heads, length, head_dim = query.shape
    key_heads, num_keys = key.shape[1:3]
    shared = heads // key_heads
    stacked = (query * scale).reshape(num_documents * key_heads, shared * length, head_dim)
    scores = torch.bmm(stacked, key.reshape(-1, num_keys, head_dim).transpose(1, 2)).float()
    scores = scores.view(-1, shared, length, num_keys).masked_fill(~_visible(query, key), float("-inf"))
    weights = scores.softmax(-1).to(value.dtype).view(-1, shared * length, num_keys)
    return torch.bmm(weights, value.reshape(-1, num_keys, head_dim)).view(num_documents, heads, length, head_dim)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout replaces the mask, so none is built."""
