"""Attention inside documents that lie end to end in one row, as an implementation that transformers can select.

A block-diagonal mask costs T x T per row, and on a CPU one kernel call per short document is several times slower in
the backward pass than one for all. So documents of similar length are laid side by side in a small padded batch,
where plain causal attention does the rest: padding stands behind each document, so nothing real ever looks at it.
A prefix that the documents share is a document of its own, whose keys and values stand before those of every other.
Up to `_MATMUL_LENGTH` tokens, on a CPU, explicit matrix products beat the fused kernel.

The layout is made once per batch and handed to every layer as the keyword argument `documents`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from workers.failures import ConfigError

IMPLEMENTATION = "luthier_documents"
_MATMUL_LENGTH = 256


@dataclass(frozen=True)
class Group:
    """Documents of similar length, side by side. Their tokens are one stretch of the row."""

    num_documents: int
    length: int
    """Tokens of the longest one; the others are padded to it."""
    slots: torch.Tensor
    """int64 [tokens of this group]: where they go in the padded batch [num_documents * length]."""
    sees_prefix: bool
    """Whether its documents continue the shared prefix; only the prefix itself does not."""


@dataclass(frozen=True)
class Documents:
    """The layout of one row."""

    groups: tuple[Group, ...]
    """In the order of the row. The prefix, when there is one, is the first."""
    sizes: tuple[int, ...]
    """Tokens of each group; they sum to T."""
    longest: int
    """Tokens of the longest document, the shared prefix included."""


def length_class(length: int) -> int:
    """Documents of one class are padded together: one class per power of two, so less than half is padding."""
    return (length - 1).bit_length()


def layout(lengths: Sequence[int], prefix_length: int, device: torch.device) -> Documents:
    """The layout of a row: the shared prefix, then documents of these lengths, those of one class together."""
    members = [(1, [prefix_length], False)] if prefix_length else []
    for _, group in itertools.groupby(lengths, key=length_class):
        group_lengths = list(group)
        members.append((len(group_lengths), group_lengths, prefix_length > 0))
    groups, sizes = [], []
    for num_documents, group_lengths, sees_prefix in members:
        longest = max(group_lengths)
        slots = torch.cat([torch.arange(length) + place * longest for place, length in enumerate(group_lengths)])
        groups.append(Group(num_documents, longest, slots.to(device), sees_prefix))
        sizes.append(sum(group_lengths))
    return Documents(tuple(groups), tuple(sizes), prefix_length + max(lengths))


def behind_shared_tokens(documents: Documents, number: int) -> Documents:
    """The layout of the row that has so many further tokens in front, which all documents see."""
    first, *others = documents.groups
    has_prefix = any(group.sees_prefix for group in others)
    slots = first.slots if has_prefix else first.slots.new_empty(0)
    whole = torch.arange(number + len(slots), device=slots.device)
    rest = others if has_prefix else [replace(group, sees_prefix=True) for group in documents.groups]
    return Documents(
        (Group(1, len(whole), whole, sees_prefix=False), *rest),
        (len(whole), *documents.sizes[1 if has_prefix else 0 :]),
        documents.longest + number,
    )


def register() -> str:
    """Makes the implementation known to transformers and returns its name. Calling it again changes nothing."""
    AttentionInterface.register(IMPLEMENTATION, document_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, _no_mask)
    return IMPLEMENTATION


def document_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    documents: Documents,
    virtual: Sequence[tuple[torch.Tensor, torch.Tensor]] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document.

    Args:
        module: the attention layer; its `layer_idx` says which of `virtual` is its own.
        query: [1, heads, T, head_dim]
        key: [1, key heads, T, head_dim]; heads is a multiple of key heads (Ainslie et al., 2023, arXiv:2305.13245).
        value: like `key`.
        attention_mask: must be None; the layout says what may be seen.
        documents: the row's layout.
        virtual: per layer, keys and values [1, key heads, V, head_dim] of tokens that every document sees and that are
            not in the row.
        scaling: of the scores; None: 1 / sqrt(head_dim).
        dropout: of the weights, as the model's config asks for; zero outside training.
        sliding_window: how far back a token of this layer looks; must hold the longest document.
        softcap: bound of the scores; not implemented.
        s_aux: attention sinks; not implemented.

    Returns:
        [1, T, heads, head_dim] and None for the weights.

    Raises:
        ConfigError: this model attends in a way that this function does not compute.
    """
    assert attention_mask is None, "the layout of documents replaces the mask"
    if softcap is not None or s_aux is not None:
        kind = "soft-capped scores" if softcap is not None else "attention sinks"
        raise ConfigError(f"base_model attends with {kind}, which the training does not know; use another base_model")
    ahead = () if virtual is None else (virtual[module.layer_idx],)
    longest = documents.longest + sum(keys.shape[2] for keys, _ in ahead)
    if sliding_window is not None and longest > sliding_window:
        raise ConfigError(
            f"base_model looks back {sliding_window} tokens, and a row has {longest}; "
            f"set data.max_length: {sliding_window} or less, or use another base_model"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    queries, keys, values = (torch.split(tensor, list(documents.sizes), dim=2) for tensor in (query, key, value))
    outputs = []
    for index, group in enumerate(documents.groups):
        padded_keys, padded_values = _pad(keys[index], group), _pad(values[index], group)
        if group.sees_prefix:
            padded_keys, padded_values = _prepend(keys[0], padded_keys), _prepend(values[0], padded_values)
        for virtual_keys, virtual_values in ahead:
            padded_keys = _prepend(virtual_keys.to(key.dtype), padded_keys)
            padded_values = _prepend(virtual_values.to(value.dtype), padded_values)
        attend = _by_matmul if query.device.type == "cpu" and group.length <= _MATMUL_LENGTH else _by_kernel
        output = attend(_pad(queries[index], group), padded_keys, padded_values, scale, dropout)
        outputs.append(output.transpose(1, 2).flatten(0, 1).index_select(0, group.slots))
    return torch.cat(outputs)[None], None


def _pad(tensor: torch.Tensor, group: Group) -> torch.Tensor:
    """[1, heads, tokens of the group, head_dim] -> [documents, heads, length, head_dim]; the padding is zero."""
    rows = tensor[0].transpose(0, 1)
    padded = rows.new_zeros(group.num_documents * group.length, *rows.shape[1:]).index_copy(0, group.slots, rows)
    return padded.view(group.num_documents, group.length, *rows.shape[1:]).transpose(1, 2)


def _prepend(prefix: torch.Tensor, padded: torch.Tensor) -> torch.Tensor:
    """The prefix [1, heads, prefix, head_dim] before each document: [documents, heads, prefix + length, head_dim]."""
    return torch.cat([prefix.expand(len(padded), -1, -1, -1), padded], dim=2)


def _visible(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """bool [length, prefix + length]: all of the prefix, and the document up to the token itself."""
    length, num_keys = query.shape[2], key.shape[2]
    return torch.ones(length, num_keys, dtype=torch.bool, device=query.device).tril(num_keys - length)


def _by_kernel(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, dropout: float
) -> torch.Tensor:
    """PyTorch's fused attention; without a prefix it needs no mask."""
    square = query.shape[2] == key.shape[2]
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if square else _visible(query, key),
        dropout_p=dropout,
        is_causal=square,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _by_matmul(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float, dropout: float
) -> torch.Tensor:
    """The same written out, softmax in fp32. Query heads that share a key head form one taller matrix."""
    num_documents, heads, length, head_dim = query.shape
    key_heads, num_keys = key.shape[1:3]
    shared = heads // key_heads
    stacked = (query * scale).reshape(num_documents * key_heads, shared * length, head_dim)
    scores = torch.bmm(stacked, key.reshape(-1, num_keys, head_dim).transpose(1, 2)).float()
    scores = scores.view(-1, shared, length, num_keys).masked_fill(~_visible(query, key), float("-inf"))
    weights = functional.dropout(scores.softmax(-1), dropout).to(value.dtype).view(-1, shared * length, num_keys)
    return torch.bmm(weights, value.reshape(-1, num_keys, head_dim)).view(num_documents, heads, length, head_dim)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout replaces the mask, so none is built."""
