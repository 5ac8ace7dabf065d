"""IA3 through PEFT: what a layer gives, or what its feed-forward part is given, times a learned vector (Liu et al.,
2022, arXiv:2205.05638)."""

from peft import IA3Config, PeftModel
from peft.tuners.ia3 import IA3Layer
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING,
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING,
)
from transformers import PreTrainedModel

from luthier.spec import Ia3Spec
from workers.failures import ConfigError
from workers.training.methods.adapter import attach
from workers.training.methods.targets import peft_targets, target_layers


def add_ia3(model: PreTrainedModel, spec: Ia3Spec) -> PeftModel:
    """Freezes `model` and adds vectors of ones.

    Raises:
        ConfigError: `target_modules` is `auto` for an architecture that PEFT does not know, or names a layer that the
            model does not have.
    """
    targets, feedforward = spec.target_modules, spec.feedforward_modules or []
    if targets == "auto":
        architecture = model.config.model_type
        if architecture not in TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING:
            raise ConfigError(
                f"method.target_modules 'auto' is not known for models of type {architecture}; name the layers there, "
                f"and those of the feed-forward part in method.feedforward_modules too"
            )
        targets = TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING[architecture]
        feedforward = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING[architecture]
    layers = target_layers(model, targets)
    config = IA3Config(
        task_type="CAUSAL_LM", target_modules=peft_targets(targets, layers), feedforward_modules=list(feedforward)
    )
    adapted = attach(model, config)
    for part in adapted.modules():
        if isinstance(part, IA3Layer):
            # Its forward pass casts nothing, yet PEFT's helper for all adapters asks every layer for this switch.
            part.cast_input_dtype_enabled = True  # type: ignore[assignment]
    return adapted
