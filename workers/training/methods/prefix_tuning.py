"""Prefix tuning through PEFT's format: keys and values of virtual tokens in every layer (Li & Liang, 2021,
arXiv:2101.00190).

They start as those of real tokens, which the paper finds much better than chance with little data (section 7.4); a
network that makes them, if that is asked for, starts at random.
"""

from typing import Any

import torch
from peft import PeftModel, PrefixTuningConfig
from transformers import DynamicCache, PreTrainedModel

from luthier.spec import PrefixTuningSpec
from workers.failures import ConfigError
from workers.training.methods.virtual_tokens import attach_virtual_tokens, first_tokens


def add_prefix(model: PreTrainedModel, spec: PrefixTuningSpec) -> PeftModel:
    """Freezes `model` and adds keys and values.

    Raises:
        ConfigError: keys and values of `model` do not have one width, as PEFT's virtual ones have; or see
            `attach_virtual_tokens` and `first_tokens`.
    """
    if getattr(model.config.get_text_config(), "kv_lora_rank", None):
        raise ConfigError(
            f"base_model (model_type {model.config.model_type!r}) has latent attention, whose keys and values differ "
            f"in width, so that PEFT has no prefix for it; take method.type: prompt_tuning or lora"
        )
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=spec.num_virtual_tokens,
        prefix_projection=spec.prefix_projection,
        encoder_hidden_size=spec.encoder_hidden_size,  # type: ignore[arg-type]
    )
    adapted = attach_virtual_tokens(model, config)
    if not spec.prefix_projection:
        tokens = first_tokens(model, spec.init_text, spec.num_virtual_tokens)
        encoder: Any = adapted.prompt_encoder["default"]
        encoder.load_prompt_embeddings(_keys_and_values(model, tokens))
    return adapted


@torch.no_grad()
def _keys_and_values(model: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
    """fp32 [tokens, layers * 2 * key heads * head_dim], in PEFT's order: per layer the keys, then the values."""
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    cache = DynamicCache(config=model.config)
    model(input_ids=tokens[None], past_key_values=cache, use_cache=True)
    model.set_attn_implementation(attention)
    layers: list[Any] = list(cache.layers)
    parts = [part for layer in layers for part in (layer.keys, layer.values)]
    return torch.cat([part[0].transpose(0, 1).flatten(1) for part in parts], dim=1).float()
