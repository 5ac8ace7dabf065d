"""Models by shape, with random weights made on the device: nothing is downloaded, nothing lies on the disk.

The same seed gives every arm the same weights. Documents are random as well, their words as unequal as those of a
language (Zipf's law), so that a few steps lower the loss.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from support.chats import read_chats
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, set_seed

from workers.training.samples import Sample

_LLAMA_3 = {"vocab_size": 128_256, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192}
SHAPES: Mapping[str, LlamaConfig] = {
    "1b": LlamaConfig(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        head_dim=64,
        tie_word_embeddings=True,
        **_LLAMA_3,
    ),
    "8b": LlamaConfig(hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, head_dim=128, **_LLAMA_3),
    # For trying the arms out without a GPU.
    "tiny": LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
    ),
}
_LONGEST, _SHORTEST, _USUAL = 1024, 32, 250
_SPREAD = 0.8
"""Standard deviation of the logarithm of a length: most documents are short, a few are ten times as long."""

_EXPONENT = 1.2
"""Of Zipf's law."""


def random_model(shape: str, device: torch.device, attention: str) -> PreTrainedModel:
    """bf16 weights of standard deviation 0.02 on `device`; `attention` is an implementation of transformers."""
    set_seed(1)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            SHAPES[shape], dtype=torch.bfloat16, attn_implementation=attention
        )
    return model


def write_documents(shape: str, number: int, seed: int, path: Path) -> int:
    """Writes documents as `support.chats.write_chats` does; returns the number of tokens. The last two thirds of each
    are learned."""
    chance = np.random.default_rng(seed)
    lengths = chance.lognormal(np.log(_USUAL), _SPREAD, number).clip(_SHORTEST, _LONGEST).astype(int)
    with path.open("w") as stream:
        for length in lengths:
            ids = np.minimum(chance.zipf(_EXPONENT, length), SHAPES[shape].vocab_size - 1)
            row = {"input_ids": ids.tolist(), "trainable": (np.arange(length) >= length // 3).tolist()}
            stream.write(json.dumps(row) + "\n")
    return int(lengths.sum())


def read_samples(path: Path) -> list[Sample]:
    """One sample per document."""
    documents = [
        SimpleNamespace(input_ids=np.array(row["input_ids"], np.int32), trainable=np.array(row["trainable"], bool))
        for row in read_chats(path)
    ]
    return [Sample(number, (document,)) for number, document in enumerate(documents)]
