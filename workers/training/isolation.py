"""Whether a model keeps the documents of a row apart, asked of the model itself before anything is learned with it.

Attention is told where documents lie (attention.py); a model that computes it in another way, that mixes tokens in
other layers too, or that counts positions by itself would learn from its neighbours' tokens, and no loss would tell.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from workers.failures import ConfigError
from workers.models.inner import inner_model
from workers.training.attention import IMPLEMENTATION
from workers.training.forward import logits_at
from workers.training.packing import make_batch

_SHORT, _PROBED, _LONG = 5, 6, 8  # tokens; of one length class, so that documents stay in their order
_MOST = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.1}
"""By what part of their mean size outputs may differ on average, which is far more than roundings add up to."""
_REMEDY = "give a base_model of another family, such as llama, qwen3 or gpt_neox"


class _Probed(NamedTuple):
    """A `Document`."""

    input_ids: NDArray[np.int32]
    trainable: NDArray[np.bool_]


def check_attends(model: PreTrainedModel) -> None:
    """After loading: `model` lets its attention be computed here.

    Raises:
        ConfigError: it has none, or one of its own.
    """
    config = model.config.get_text_config()
    chosen = str(getattr(config, "_attn_implementation", None))
    if not hasattr(config, "num_attention_heads") or not chosen.startswith(IMPLEMENTATION):
        raise ConfigError(
            f"base_model (model_type {model.config.model_type!r}) has no attention, or computes it in a way of its "
            f"own, so that the rows of a pass could not be kept apart; {_REMEDY}"
        )


@torch.no_grad()
def check_keeps_apart(model: nn.Module, compute: torch.dtype, device: torch.device) -> None:
    """Before the first step: what a document gives is the same whatever stands before it in its row, and wherever.

    All ranks call it at the same place; it takes two passes over 19 tokens. No random number is drawn.

    Args:
        model: as it will be trained, in training mode or not, and left so.
        compute: dtype of the matrix products.
        device: where it computes.

    Raises:
        ConfigError: documents see each other, or their places.
    """
    was_training = model.training
    model.eval()
    short, probed, long, other_long, other_short = _documents(inner_model(model))
    one = _logits(model, (short, probed, long), compute, device)
    other = _logits(model, (other_long, probed, other_short), compute, device)
    model.train(was_training)
    # What is not finite says nothing here; the first step tells it.
    if (one - other).abs().mean() > _MOST[compute] * one.abs().mean():
        kind = inner_model(model).config.model_type
        raise ConfigError(
            f"base_model (model_type {kind!r}) does not keep the rows of a pass apart: what it says of one depends on "
            f"its neighbours, because it mixes tokens outside of its attention or counts positions by itself; {_REMEDY}"
        )


def _documents(model: PreTrainedModel) -> list[_Probed]:
    """Five, of any tokens."""
    num_tokens = min(model.config.get_text_config().vocab_size, 1000)
    chance = np.random.default_rng(0)
    lengths = (_SHORT, _PROBED, _LONG, _LONG, _SHORT)
    return [
        _Probed(chance.integers(0, num_tokens, length, dtype=np.int32), np.ones(length, bool)) for length in lengths
    ]


def _logits(
    model: nn.Module, documents: tuple[_Probed, ...], compute: torch.dtype, device: torch.device
) -> torch.Tensor:
    """fp32 [tokens, outputs] of the second document."""
    before, probed, _ = (len(document.input_ids) for document in documents)
    places = torch.arange(before, before + probed, device=device)
    return logits_at(model, make_batch(documents).to(device), places, compute).float()
