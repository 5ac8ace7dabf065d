"""Attention by documents of similar length, padded side by side: plain PyTorch, on any device.

On a CPU one kernel call per short document is several times slower in the backward pass than one for all. So documents
of one length class make a small padded batch, where plain causal attention does the rest: padding stands behind each
document, so nothing real ever looks at it. The prefix is a document of its own, whose keys and values stand before
those of every other. Up to `_MATMUL_LENGTH` tokens, on a CPU, explicit matrix products beat the fused kernel.
"""

import torch
from torch.nn import functional

from workers.training.kernels.contract import Pair
from workers.training.layout import Documents, Group

_MATMUL_LENGTH = 256


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    virtual: Pair | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """See `Attend`. Memory: the padded copies, and a mask of [length, prefix + length] per group with a prefix."""
    queries, keys, values = (torch.split(tensor, list(documents.sizes), dim=2) for tensor in (query, key, value))
    outputs = []
    for index, group in enumerate(documents.groups):
        padded_keys, padded_values = _pad(keys[index], group), _pad(values[index], group)
        if group.sees_prefix:
            padded_keys, padded_values = _prepend(keys[0], padded_keys), _prepend(values[0], padded_values)
        if virtual is not None:
            padded_keys = _prepend(virtual[0].to(key.dtype), padded_keys)
            padded_values = _prepend(virtual[1].to(value.dtype), padded_values)
        compute = _by_matmul if query.device.type == "cpu" and group.length <= _MATMUL_LENGTH else _by_kernel
        output = compute(_pad(queries[index], group), padded_keys, padded_values, scale, dropout)
        outputs.append(output.transpose(1, 2).flatten(0, 1).index_select(0, group.slots))
    return torch.cat(outputs)[None]


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
    """The same written out. Query heads that share a key head form one taller matrix. Scale and mask are part of its
    product. The softmax computes in fp32; its weights have the dtype of the products, as in the fused kernels."""
    num_documents, heads, length, head_dim = query.shape
    key_heads, num_keys = key.shape[1:3]
    shared = heads // key_heads
    on, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    # Autocast would take the softmax, which knows how to add up, to fp32 and back.
    with torch.autocast("cpu", enabled=False):
        query, key, value = (part.to(dtype if on else value.dtype) for part in (query, key, value))
        hidden = query.new_zeros(length, num_keys).masked_fill_(~_visible(query, key), float("-inf"))
        scores = torch.baddbmm(
            hidden.repeat(shared, 1).expand(num_documents * key_heads, -1, -1),
            query.reshape(num_documents * key_heads, shared * length, head_dim),
            key.reshape(-1, num_keys, head_dim).transpose(1, 2),
            alpha=scale,
        )
        weights = functional.dropout(scores.softmax(-1), dropout)
        mixed = torch.bmm(weights, value.reshape(-1, num_keys, head_dim))
    return mixed.view(num_documents, heads, length, head_dim)
