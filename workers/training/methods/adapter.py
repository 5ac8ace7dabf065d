"""Adapters through PEFT: how every such method puts one beside the frozen base, and how it is saved."""

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from workers.failures import ConfigError
from workers.models.tuned import ADAPTER

_NOT_KNOWN = (ValueError, TypeError, NotImplementedError, AttributeError)
"""What PEFT raises of layers that a kind of adapter is not written for; of experts it asks what they do not have."""


def attach(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """Freezes `model` and adds adapters in fp32, whatever the dtype of the base.

    fp32, because an update of 1e-4 of a weight is lost in bf16's eight bits of mantissa.

    Raises:
        ConfigError: PEFT does not know this kind of adapter for a layer that is meant, say experts that are one tensor.
    """
    try:
        adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    except _NOT_KNOWN as error:
        raise ConfigError(
            f"PEFT cannot put this kind of adapter onto base_model (model_type {model.config.model_type!r}): {error}; "
            f"take plain method.type: lora, or name other layers in method.target_modules, such as the attention's"
        ) from error
    assert isinstance(adapted, PeftModel)
    return adapted


def save_adapter(model: PeftModel, _: Path, folder: Path) -> None:
    """Writes `adapter/` as plain PEFT loads it. Names of layers are in order: equal adapters are equal files."""
    configs: list[Any] = list(model.peft_config.values())
    for config in configs:
        if isinstance(names := getattr(config, "target_modules", None), set):
            config.target_modules = sorted(names)
    model.save_pretrained(str(folder / ADAPTER), safe_serialization=True)
