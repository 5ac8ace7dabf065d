"""LoRA through PEFT: W x + (alpha / r) B A x with W frozen (Hu et al., 2021, arXiv:2106.09685), and its variants.

PiSSA and OLoRA start B A at a part of W, which they take out of it: see borrowed.py for how it gets back.
"""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel

from luthier.spec import LoraSpec
from workers.training.methods.adapter import attach
from workers.training.methods.added_tokens import token_rows
from workers.training.methods.base import Control, NoControl, load_base, load_base_unread
from workers.training.methods.borrowed import BorrowedStart
from workers.training.methods.fused import fuse
from workers.training.methods.targets import check_rank, peft_targets, target_layers


def load_unless_looked_at(folder: Path, dtype: torch.dtype, device: torch.device, spec: LoraSpec) -> PreTrainedModel:
    """The base model, whose weights are still in their files, unless `add_lora` looks at them."""
    return (load_base if spec.looks_at_weights else load_base_unread)(folder, dtype, device)


def add_lora(model: PreTrainedModel, spec: LoraSpec) -> PeftModel:
    """Freezes `model` and adds the low-rank updates.

    Raises:
        ConfigError: `target_modules` names a layer that the model does not have, or one smaller than `r`.
    """
    layers = target_layers(model, spec.target_modules)
    check_rank(spec.r, layers, "method.r")
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        lora_alpha=spec.lora_alpha,  # type: ignore[arg-type, unused-ignore]
        lora_dropout=spec.lora_dropout,
        target_modules=peft_targets(spec.target_modules, layers),
        use_rslora=spec.use_rslora,
        use_dora=spec.use_dora,
        trainable_token_indices=token_rows(model, spec.added_tokens),
        init_lora_weights=True if spec.init_lora_weights == "default" else spec.init_lora_weights,
    )
    adapted = attach(model, config)
    fuse(adapted)
    return adapted


def control_lora(model: PeftModel, spec: LoraSpec, _: int) -> Control:
    """LoRA+ gives B a learning rate of its own (Hayou et al., 2024, arXiv:2402.12354)."""
    ratios = {
        name: spec.lora_plus_ratio
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ".lora_B." in name
    }
    if spec.borrows_start:
        return BorrowedStart(model, ratios)
    return NoControl(ratios)
