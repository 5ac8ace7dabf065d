"""FlashAttention over documents end to end (Dao, 2023, arXiv:2307.08691): torch's own build of it, and flash-attn's.

Both take the row as it lies, with the place where each document starts, for queries and keys apart. Their causal mask
ends at the last key of a document, so a document that has more keys than queries sees all of the keys in front: those
of the shared prefix and of virtual tokens, which are gathered before its own. That costs their number per document, and
nothing grows with the square of the row.

Without CUDA neither runs; the tests put a plain function in the kernel's place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import accumulate

import torch
from torch.nn.attention.varlen import varlen_attn

from workers.training.kernels.contract import Pair, Wanted
from workers.training.layout import Documents
from workers.training.transfer import send

_MAX_HEAD_DIM = 256
_CAUSAL = (-1, 0)  # how far a query looks back and ahead; -1: without end


@dataclass(frozen=True)
class Packed:
    """A row as S documents with keys of their own; the shared prefix is the first of them."""

    query_starts: torch.Tensor
    """int32 [S + 1]: where the queries of each begin; the last is T."""
    key_starts: torch.Tensor
    """int32 [S + 1]: where its keys begin among the K gathered ones."""
    key_places: torch.Tensor | None
    """int64 [K]: the gathered keys, counted from the first virtual token; None: the row's keys as they lie."""
    max_queries: int
    max_keys: int


Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Packed, float, float], torch.Tensor]
"""Queries [T, heads, head_dim], keys and values [K, key heads, head_dim], layout, scale, dropout -> like queries."""


@lru_cache(maxsize=2)
def pack_keys(documents: Documents, num_virtual: int) -> Packed:
    """The view of a row that every layer of a pass asks for."""
    lengths, prefix_length = documents.stretches, documents.prefix_length
    in_front = [num_virtual + prefix_length] * len(lengths)
    if prefix_length:
        in_front[0] = num_virtual
    num_keys = [front + length for front, length in zip(in_front, lengths, strict=True)]
    starts = _starts(lengths)
    places = None
    if num_virtual + prefix_length:
        own = (
            torch.arange(length) + num_virtual + start for length, start in zip(lengths, starts.tolist(), strict=False)
        )
        parts = [part for front, rest in zip(in_front, own, strict=True) for part in (torch.arange(front), rest)]
        places = send(torch.cat(parts), documents.device)
    return Packed(
        query_starts=send(starts, documents.device),
        key_starts=send(_starts(num_keys), documents.device),
        key_places=places,
        max_queries=max(lengths),
        max_keys=max(num_keys),
    )


def attend(
    kernel: Kernel,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    virtual: Pair | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """See `Attend`, with the kernel in front."""
    packed = pack_keys(documents, 0 if virtual is None else virtual[0].shape[2])
    if virtual is not None:
        key, value = (
            torch.cat([pair.to(row.dtype), row], dim=2) for pair, row in zip(virtual, (key, value), strict=True)
        )
    queries, keys, values = (tensor[0].transpose(0, 1).to(value.dtype) for tensor in (query, key, value))
    if packed.key_places is not None:
        keys, values = (tensor.index_select(0, packed.key_places) for tensor in (keys, values))
    return kernel(queries, keys, values, packed, scale, dropout)[None]


def by_torch(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, packed: Packed, scale: float, dropout: float
) -> torch.Tensor:
    """torch.nn.attention.varlen, a part of torch since 2.10; drops nothing."""
    assert dropout == 0.0, "this kernel is not chosen for models with attention dropout"
    output = varlen_attn(
        queries,
        keys,
        values,
        packed.query_starts,
        packed.key_starts,
        packed.max_queries,
        packed.max_keys,
        scale=scale,
        window_size=_CAUSAL,
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    assert isinstance(output, torch.Tensor)  # one more thing comes with it when it is asked for
    return output


def by_flash_attn(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, packed: Packed, scale: float, dropout: float
) -> torch.Tensor:
    """The package flash-attn, 2.1 or newer, which people build for themselves."""
    from flash_attn import flash_attn_varlen_func  # here, because it is not there without CUDA

    output: torch.Tensor = flash_attn_varlen_func(
        queries,
        keys,
        values,
        packed.query_starts,
        packed.key_starts,
        packed.max_queries,
        packed.max_keys,
        dropout_p=dropout,
        softmax_scale=scale,
        causal=True,
    )
    return output


def lacks_torch(wanted: Wanted) -> str | None:
    """Why `by_torch` cannot be used; None: it can be tried."""
    return _lacks_any(wanted) or ("drops no attention weights" if wanted.has_dropout else None)


def lacks_flash_attn(wanted: Wanted) -> str | None:
    """The same for `by_flash_attn`."""
    return _lacks_any(wanted) or (None if find_spec("flash_attn") else "the package flash-attn is not installed")


def _lacks_any(wanted: Wanted) -> str | None:
    if wanted.device.type != "cuda":
        return f"runs on CUDA only, not on {wanted.device.type}"
    if wanted.dtype not in (torch.bfloat16, torch.float16):
        return f"computes in bf16 and fp16 only, not in {str(wanted.dtype).removeprefix('torch.')}"
    return f"heads are wider than {_MAX_HEAD_DIM}" if wanted.head_dim > _MAX_HEAD_DIM else None


def _starts(lengths: Sequence[int]) -> torch.Tensor:
    """int32 [S + 1] of S lengths."""
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
