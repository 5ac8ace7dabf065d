"""Training some of the base model's own weights: what `freeze` and `hft` share.

The chosen weights are fp32 masters, exactly as stored; the frozen ones have the compute dtype. So a chosen parameter
costs 16 bytes, as in full fine-tuning, and a frozen one 2 in bf16. What is saved is the base model as it is stored,
with the trained weights in it: the frozen ones come out as they went in, to the bit.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from workers.models import load_model, load_tokenizer, save_model, stored_dtype
from workers.models.tuned import MODEL
from workers.training.methods.base import load_base

Select = Callable[[PreTrainedModel, Any], set[str]]
"""The names of the parameters to train, by the method's section."""


def load_chosen_exact(
    select: Select, folder: Path, dtype: torch.dtype, device: torch.device, spec: Any
) -> PreTrainedModel:
    """The base model: what `select` chooses as it is stored or more precise, the rest in `dtype`."""
    model = load_base(folder, torch.promote_types(stored_dtype(folder), dtype), device)
    chosen = select(model, spec)
    for name, parameter in model.named_parameters():
        if name not in chosen:
            parameter.data = parameter.data.to(dtype)
    return model


def train_chosen(select: Select, model: PreTrainedModel, spec: Any) -> PreTrainedModel:
    """Makes trainable what `select` chooses, in fp32, and freezes the rest."""
    chosen = select(model, spec)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
        if name in chosen:
            parameter.data = parameter.data.float()
    return model


def save_over_base(model: PreTrainedModel, base: Path, folder: Path) -> None:
    """Writes `model/`: the base model as it is stored, with the trained weights of `model` in it."""
    dtype = stored_dtype(base)
    whole = load_model(base, dtype)
    targets = dict(whole.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                targets[name].copy_(parameter)
    save_model(whole, load_tokenizer(base), folder / MODEL, dtype)


def load_for(select: Select) -> Callable[[Path, torch.dtype, torch.device, Any], PreTrainedModel]:
    """`load` of a method that trains what `select` chooses."""
    return partial(load_chosen_exact, select)


def adapt_for(select: Select) -> Callable[[PreTrainedModel, Any], PreTrainedModel]:
    """`adapt` of such a method."""
    return partial(train_chosen, select)
