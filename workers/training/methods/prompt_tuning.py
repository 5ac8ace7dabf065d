"""Prompt tuning through PEFT's format: the embeddings of virtual tokens are all that is trained (Lester et al., 2021,
arXiv:2104.08691).
"""

from typing import Any

import torch
from peft import PeftModel, PromptTuningConfig
from transformers import PreTrainedModel

from luthier.spec import PromptTuningSpec
from workers.training.methods.virtual_tokens import attach_virtual_tokens, first_tokens


def add_prompt(model: PreTrainedModel, spec: PromptTuningSpec) -> PeftModel:
    """Freezes `model` and adds virtual tokens that start as real ones.

    Raises:
        ConfigError: see `attach_virtual_tokens` and `first_tokens`.
    """
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=spec.num_virtual_tokens, prompt_tuning_init="RANDOM"
    )
    adapted = attach_virtual_tokens(model, config)
    tokens = first_tokens(model, spec.init_text, spec.num_virtual_tokens)
    encoder: Any = adapted.prompt_encoder["default"]
    with torch.no_grad():
        encoder.embedding.weight.copy_(model.get_input_embeddings()(tokens))
    return adapted
