"""What a merge leaves: an adapter as PEFT loads it, or the base model with its weights changed."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

Factors = tuple[torch.Tensor, torch.Tensor]
"""A, [r, in], and B, [out, r]."""


def write_adapter(factors: Mapping[str, Factors], base: str, folder: Path) -> None:
    """Writes a LoRA adapter of the scale 1 into the new folder `folder`.

    Args:
        factors: by the name of the linear layer, fp32.
        base: the base model, for the adapter's config.
        folder: made here.
    """
    ranks = {layer: len(down) for layer, (down, _) in factors.items()}
    largest = max(ranks.values())
    others = {re.escape(layer): rank for layer, rank in ranks.items() if rank != largest}
    LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
        r=largest,
        lora_alpha=largest,
        rank_pattern=others,
        alpha_pattern=others,
        target_modules=[*factors],
    ).save_pretrained(str(folder))
    tensors = {}
    for layer, (down, up) in factors.items():
        tensors[f"base_model.model.{layer}.lora_A.weight"] = down.contiguous()
        tensors[f"base_model.model.{layer}.lora_B.weight"] = up.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def weight_of(layer: nn.Module) -> torch.Tensor:
    """A view of a linear layer's weight as [out, in]."""
    weight = layer.get_parameter("weight").detach()
    return weight.T if isinstance(layer, Conv1D) else weight


def change_weight(layer: nn.Module, change: torch.Tensor) -> None:
    """Adds `change`, fp32 [out, in], to the weight of a linear layer. The sum is fp32 and rounded once."""
    weight = weight_of(layer)
    weight.copy_(weight.float() + change)
