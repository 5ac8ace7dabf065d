"""Adapters through PEFT: how every such method puts one beside the frozen base, and how it is saved."""

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from workers.models.tuned import ADAPTER


def attach(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """Freezes `model` and adds adapters in fp32, whatever the dtype of the base.

    fp32, because an update of 1e-4 of a weight is lost in bf16's eight bits of mantissa.
    """
    adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    assert isinstance(adapted, PeftModel)
    return adapted


def save_adapter(model: PeftModel, _: Path, folder: Path) -> None:
    """Writes `adapter/` as plain PEFT loads it. Names of layers are in order: equal adapters are equal files."""
    configs: list[Any] = list(model.peft_config.values())
    for config in configs:
        if isinstance(names := getattr(config, "target_modules", None), set):
            config.target_modules = sorted(names)
    model.save_pretrained(str(folder / ADAPTER), safe_serialization=True)
