"""The arithmetic of a model's shape is that of transformers, parameter by parameter."""

import json
import math
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.planning.shape import UnknownModelError, read_shape

LLAMA_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
    "max_position_embeddings": 131072, "dtype": "bfloat16",
}  # fmt: skip
LLAMA_70B = LLAMA_8B | {
    "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64,
}  # fmt: skip
SMALL: dict[str, Any] = {
    "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 96, "max_position_embeddings": 128, "pad_token_id": 0,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "Llama 8B": LLAMA_8B,
    "Llama 70B": LLAMA_70B,
    "Llama, tied, biases": SMALL
    | {"model_type": "llama", "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 20},
    "Mistral 7B": LLAMA_8B | {"model_type": "mistral", "vocab_size": 32768, "head_dim": 128},
    "Qwen2": SMALL | {"model_type": "qwen2", "tie_word_embeddings": True},
    "Qwen3": SMALL | {"model_type": "qwen3", "head_dim": 16},
    "Qwen3, default heads": SMALL | {"model_type": "qwen3"},
    "Gemma": SMALL | {"model_type": "gemma", "head_dim": 12},
    "Gemma 2": SMALL | {"model_type": "gemma2"},
    "Gemma 3": SMALL | {"model_type": "gemma3_text", "head_dim": 16},
    "Phi 3": SMALL | {"model_type": "phi3"},
    "SmolLM3": SMALL | {"model_type": "smollm3"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_is_the_one_of_transformers(name: str) -> None:
    config = json.loads(json.dumps(CONFIGS[name]))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    shape = read_shape(config)
    assert shape.parameters() == {key: tuple(weight.shape) for key, weight in model.named_parameters()}
    assert shape.num_parameters == sum(math.prod(size) for size in shape.parameters().values())
    linear = {key for key, part in model.named_modules() if isinstance(part, torch.nn.Linear) and key != "lm_head"}
    assert {part.name for part in shape.linears()} == linear


def test_well_known_numbers() -> None:
    assert read_shape(LLAMA_8B).num_parameters == 8_030_261_248
    assert read_shape(LLAMA_70B).num_parameters == 70_553_706_496


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba'"),
        ({"num_local_experts": 8}, "num_local_experts"),
        ({"hidden_size": None}, "hidden_size"),
    ],
)
def test_what_is_not_known_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownModelError, match=said):
        read_shape(LLAMA_8B | change)
