"""LoRA through PEFT: W x + (alpha / r) B A x with W frozen (Hu et al., 2021, arXiv:2106.09685)."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from luthier.spec import LoraSpec
from workers.failures import ConfigError
from workers.models.tuned import ADAPTER


def add_lora(model: PreTrainedModel, spec: LoraSpec) -> PeftModel:
    """Freezes `model` and adds adapters in fp32, whatever the dtype of the base.

    fp32, because an update of 1e-4 of a weight is lost in bf16's eight bits of mantissa.

    Raises:
        ConfigError: `target_modules` names a layer that the model does not have.
    """
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        lora_alpha=spec.lora_alpha,  # type: ignore[arg-type, unused-ignore]
        lora_dropout=spec.lora_dropout,
        target_modules=spec.target_modules,
        use_rslora=spec.use_rslora,
    )
    try:
        adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    except ValueError as error:
        linear = {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
        raise ConfigError(
            f"method.target_modules {spec.target_modules!r} does not fit this model; "
            f"its linear layers are {', '.join(sorted(linear))}"
        ) from error
    assert isinstance(adapted, PeftModel)
    return adapted


def save_adapter(model: PeftModel, _: Path, folder: Path) -> None:
    """Writes `adapter/` as plain PEFT loads it."""
    model.save_pretrained(str(folder / ADAPTER), safe_serialization=True)
