"""Attention inside documents that lie end to end in one row, as an implementation that transformers can select.

A block-diagonal mask would cost T x T per row. Here the layout of the row replaces the mask: it is made once per batch
and handed to every layer as the keyword argument `documents`. What is refused here no kernel computes; which kernel
does the rest is chosen once per run (kernels/) and stands in the name of the implementation.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from workers.failures import ConfigError
from workers.training.kernels.attention import ATTENTION, EVERYWHERE
from workers.training.kernels.contract import Attend, Pair
from workers.training.layout import Documents

IMPLEMENTATION = "luthier_documents"


def register(kernel: str = EVERYWHERE) -> str:
    """Makes the implementation with that kernel known to transformers and returns its name.

    Calling it again changes nothing.
    """
    name = IMPLEMENTATION if kernel == EVERYWHERE else f"{IMPLEMENTATION}_{kernel}"
    AttentionInterface.register(name, partial(document_attention, ATTENTION[kernel].attend))
    AttentionMaskInterface.register(name, _no_mask)
    return name


def document_attention(
    attend: Attend,
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    documents: Documents | None = None,
    virtual: Sequence[Pair] | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each document.

    Args:
        attend: the kernel.
        module: the attention layer; its `layer_idx` says which of `virtual` is its own.
        query: [1, heads, T, head_dim]
        key: [1, key heads, T, head_dim]
        value: like `key`, but its heads may have another width, as those of latent attention have (DeepSeek-AI, 2024,
            arXiv:2405.04434).
        attention_mask: must be None; the layout says what may be seen.
        documents: the row's layout, which the model has to pass on.
        virtual: per layer, keys and values of tokens that every document sees and that are not in the row.
        scaling: of the scores; None: 1 / sqrt(head_dim).
        dropout: of the weights, as the model's config asks for; zero outside training.
        sliding_window: how far back a token of this layer looks; must hold the longest document.
        softcap: bound of the scores; not implemented.
        s_aux: attention sinks; not implemented.

    Returns:
        [1, T, heads, head_dim of the values] and None for the weights.

    Raises:
        ConfigError: this model attends in a way that this function does not compute.
    """
    reason = _reason_against(module, attention_mask, documents, softcap, s_aux)
    if documents is None or reason is not None:
        raise ConfigError(f"base_model attends with {reason}, which the training does not know; use another base_model")
    ahead = None if virtual is None else virtual[module.layer_idx]
    longest = documents.longest + (0 if ahead is None else ahead[0].shape[2])
    if sliding_window is not None and longest > sliding_window:
        raise ConfigError(
            f"base_model looks back {sliding_window} tokens, and a row has {longest}; "
            f"set data.max_length: {sliding_window} or less, or use another base_model"
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if value.shape[-1] != query.shape[-1]:
        attend = partial(_of_one_width, attend)
    if documents.beginnings:
        query, key, value = (_laid_out_whole(tensor, documents) for tensor in (query, key, value))
    output = attend(query, key, value, documents.whole, ahead, scale, dropout)
    return output.index_select(1, documents.kept) if documents.beginnings else output, None


def _laid_out_whole(tensor: torch.Tensor, documents: Documents) -> torch.Tensor:
    """[1, heads, T, head_dim] -> [1, heads, tokens of `whole`, head_dim]: what documents share, for each of them."""
    return tensor.transpose(1, 2).index_select(1, documents.places).transpose(1, 2)


def _of_one_width(
    attend: Attend,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    documents: Documents,
    virtual: Pair | None,
    scale: float,
    dropout: float,
) -> torch.Tensor:
    """`attend` for values whose heads are not as wide as those of the keys: zeros change no score and no sum."""
    width = max(query.shape[-1], value.shape[-1])
    query, key, whole = (functional.pad(part, (0, width - part.shape[-1])) for part in (query, key, value))
    assert virtual is None, "virtual tokens are made for heads of one width"
    return attend(query, key, whole, documents, None, scale, dropout)[..., : value.shape[-1]]


def _reason_against(
    module: Any,
    attention_mask: torch.Tensor | None,
    documents: Documents | None,
    softcap: float | None,
    s_aux: torch.Tensor | None,
) -> str | None:
    """What the model asks for and no kernel computes."""
    asked = {
        "soft-capped scores": softcap is not None,
        "attention sinks": s_aux is not None,
        "a mask of its own": attention_mask is not None or documents is None,
        "a look at later tokens": not getattr(module, "is_causal", True),
    }
    return next((reason for reason, is_asked in asked.items() if is_asked), None)


def _no_mask(*_: Any, **__: Any) -> None:
    """The layout replaces the mask, so none is built."""
