"""What prompt tuning and prefix tuning share: which models can have virtual tokens, and real tokens to start them from.

How the forward pass sees them stands in workers/models/virtual_tokens.py.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import PreTrainedModel

from workers.failures import ConfigError
from workers.models import load_tokenizer
from workers.models.virtual_tokens import open_virtual_tokens
from workers.training.methods.adapter import attach


def attach_virtual_tokens(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    """Freezes `model` and puts fp32 virtual tokens before every document.

    Raises:
        ConfigError: the model reads in both directions, or has no output layer over its vocabulary.
    """
    # Configs of some decoders, such as GPT-NeoX's, say `is_decoder: false`; their attention knows what it is.
    is_causal = not model.config.is_encoder_decoder and all(
        getattr(part, "is_causal", True) for part in model.modules()
    )
    if not is_causal or model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]
        raise ConfigError(
            f"base_model ({type(model).__name__}) is no causal language model, which virtual tokens need: "
            f"use method.type: lora, or another base_model and objective"
        )
    return open_virtual_tokens(attach(model, config))


def first_tokens(model: Any, text: str | None, number: int) -> torch.Tensor:
    """int64 [number]: the tokens of `text`, cut or repeated, or without a text any of the vocabulary, by lot.

    `model` is a PreTrainedModel that was loaded from the folder that its config names.

    Raises:
        ConfigError: the text has no token.
    """
    if text is None:
        return torch.randint(model.get_input_embeddings().num_embeddings, (number,)).to(model.device)
    ids = load_tokenizer(Path(model.config.name_or_path)).encode(text, add_special_tokens=False)
    if not ids:
        raise ConfigError("method.init_text has no token in the tokenizer of base_model; give another text")
    return torch.tensor((ids * (number // len(ids) + 1))[:number], device=model.device)
