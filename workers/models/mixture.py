"""A mixture of LoRA adapters (X-LoRA) as PEFT has it, opened to what our forward passes need.

Every forward pass is two: one of the base model alone, whose last hidden states say how the adapters are mixed at each
token, and one with that mixture. PEFT hands the mixture to the layers by hooks that are gone when activations are
computed again, and runs both passes over the same cache, so that it can only generate without one. Here the layers look
it up, and each pass has a cache of its own.

The folder is that of PEFT: `adapter_config.json` and `adapter_model.safetensors` of the network that mixes, and beside
them a folder for each adapter, named by its number. The config does not say where these are, as PEFT's would: then
PEFT takes what `from_pretrained` is given as `adapters`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, XLoraConfig, get_peft_model
from peft.tuners.lora import Linear
from peft.tuners.xlora import XLoraModel
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

KIND = "XLORA"
_CONFIG = "adapter_config.json"


@dataclass
class Gate:
    """How the adapters are mixed in the present forward pass."""

    scalings: torch.Tensor | None = None
    """[rows, tokens, layers, adapters]; None: the base model alone."""


@dataclass(frozen=True)
class Caches:
    """What the two passes have read."""

    alone: Cache
    mixed: Cache


def add_mixture(model: PreTrainedModel, config: XLoraConfig) -> PeftModel:
    """Freezes `model` and adds the adapters that `config` names and a fresh network that mixes them, in fp32.

    Raises:
        ValueError: PEFT cannot load an adapter into a model that is built like this one.
    """
    use_cache = model.config.use_cache
    model.config.use_cache = False  # PEFT refuses anything else, for what it does with a cache
    adapted = get_peft_model(model, config, autocast_adapter_dtype=True)
    model.config.use_cache = use_cache
    assert isinstance(adapted, PeftModel)
    return open_mixture(adapted)


def load_mixture(model: PreTrainedModel, folder: Path) -> PeftModel:
    """`model` with the mixture in `folder`, in its dtype."""
    folders = sorted((file.parent for file in folder.glob(f"*/{_CONFIG}")), key=lambda one: int(one.name))
    use_cache = model.config.use_cache
    model.config.use_cache = False
    adapted = PeftModel.from_pretrained(
        model,
        str(folder),
        adapters={one.name: str(one) for one in folders},
        autocast_adapter_dtype=False,
        local_files_only=True,
    )
    model.config.use_cache = use_cache
    return open_mixture(adapted.eval())


def open_mixture(model: PeftModel) -> PeftModel:
    """Gives `model` the forward pass that this module describes. Returns it."""
    gate = Gate()
    for layer in mixed_layers(model):
        layer.forward = partial(_mixed, gate, layer.forward.__self__)  # type: ignore[method-assign, attr-defined]
    model.forward = partial(_forward, model, gate)  # type: ignore[method-assign]
    return model


def mixed_layers(model: PeftModel) -> Iterator[Linear]:
    """The layers that have adapters."""
    return (part for part in model.modules() if isinstance(part, Linear))


def config_of(model: PeftModel) -> XLoraConfig:
    """What the mixture is made of."""
    config: PeftConfig = model.peft_config["default"]
    assert isinstance(config, XLoraConfig)
    return config


def _forward(
    model: PeftModel,
    gate: Gate,
    *,
    input_ids: torch.Tensor,
    past_key_values: Caches | None = None,
    use_cache: bool = False,
    logits_to_keep: int | torch.Tensor = 0,
    **inputs: Any,
) -> Any:
    base: Any = model.get_base_model()
    mixture: Any = model.base_model
    assert isinstance(mixture, XLoraModel)
    caches = past_key_values
    if use_cache and caches is None:
        caches = Caches(DynamicCache(config=base.config), DynamicCache(config=base.config))
    gate.scalings = None
    if not mixture.disabled:
        with torch.no_grad():
            read = base.get_decoder()(
                input_ids=input_ids, past_key_values=caches and caches.alone, use_cache=use_cache, **inputs
            )
        states = BaseModelOutput(hidden_states=(read.last_hidden_state,))
        gate.scalings = mixture.internal_xlora_classifier(result=states, input_ids=input_ids)
    output = base(
        input_ids=input_ids,
        past_key_values=caches and caches.mixed,
        use_cache=use_cache,
        logits_to_keep=logits_to_keep,
        **inputs,
    )
    output.past_key_values = caches
    return output


def _mixed(gate: Gate, part: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """[rows, tokens, inputs] -> [rows, tokens, outputs]. `part` is PEFT's own forward pass of the layer."""
    layer: Linear = part.target
    result: torch.Tensor = layer.base_layer(x, *args, **kwargs)
    if gate.scalings is None:
        return result
    shares = part.get_maybe_topk_scalings(gate.scalings) * part.config.global_scaling_weight
    for number, name in enumerate(layer.active_adapters):
        if name in layer.lora_A:
            down, up = layer.lora_A[name], layer.lora_B[name]
            share = shares[..., number, None] * layer.scaling[name]
            result = result + up(down(x) * share.to(result.dtype)).to(result.dtype)
    return result
