"""FlashAttention's interface, computed document by document with matrix products: what its kernels must come to."""

from typing import Any

import torch


def plain_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_starts: torch.Tensor,
    key_starts: torch.Tensor,
    max_queries: int,
    max_keys: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """torch.nn.attention.varlen.varlen_attn; `(-1, 0)` is causal, the last query at the last key."""
    assert window_size == (-1, 0)
    assert enable_gqa is (query.shape[1] != key.shape[1])
    assert query_starts.dtype == key_starts.dtype == torch.int32
    queries, keys = query_starts.diff().tolist(), key_starts.diff().tolist()
    assert (max(queries), max(keys)) == (max_queries, max_keys)
    repeat = query.shape[1] // key.shape[1]
    outputs = []
    for q, k, v in zip(query.split(queries), key.split(keys), value.split(keys), strict=True):
        k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(len(k) - len(q))
        outputs.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, float("-inf")).softmax(-1), v))
    return torch.cat(outputs)


def plain_flash_attn(*tensors: Any, dropout_p: float, softmax_scale: float, causal: bool) -> torch.Tensor:
    """flash_attn.flash_attn_varlen_func since its version 2.1."""
    assert causal
    assert dropout_p == 0.0
    return plain_varlen(
        *tensors, scale=softmax_scale, window_size=(-1, 0), enable_gqa=tensors[0].shape[1] != tensors[1].shape[1]
    )
