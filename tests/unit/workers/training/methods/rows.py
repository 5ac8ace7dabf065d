"""What test_matrix.py asks of every method that a job file can name: one row each, or more where it has variants.

The base model has two layers, width 32, four heads of which two have keys and values, 48 units in the feed-forward
part.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

LAYERS, WIDTH, NARROW, UNITS = 2, 32, 16, 48
LINEAR = {
    "q_proj": (WIDTH, WIDTH),
    "k_proj": (NARROW, WIDTH),
    "v_proj": (NARROW, WIDTH),
    "o_proj": (WIDTH, WIDTH),
    "gate_proj": (UNITS, WIDTH),
    "up_proj": (UNITS, WIDTH),
    "down_proj": (WIDTH, UNITS),
}
"""Outputs and inputs of the linear layers of each layer."""
VOCABULARY = 309
"""Tokens of the tiny tokenizer."""
EMBEDDING = VOCABULARY * WIDTH
"""Parameters of the embeddings, and again of the output layer."""


@dataclass(frozen=True)
class Row:
    """One method."""

    section: Mapping[str, Any]
    """`method` of the job file. With dropout, where the method has any."""
    num_trained: int
    """How many parameters are trained, as arithmetic has it."""
    learning_rate: float = 0.02
    """With which the loss falls by a tenth in twelve steps."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """More of the job's `training` section."""
    exactness: float = 3e-5
    """How far the logits of what was saved may be from those of the trained model, whose size is about 10."""


BLOCK = sum(rows * columns for rows, columns in LINEAR.values()) + 2 * WIDTH
"""Parameters of a layer, its two norms included."""


def lora(rank: int, *targets: str) -> int:
    """Parameters of low-rank updates of those linear layers of every layer, of all by default."""
    return LAYERS * sum(rank * sum(LINEAR[name]) for name in targets or LINEAR)


ROWS: dict[str, Row] = {
    "lora": Row({"type": "lora", "r": 4, "lora_dropout": 0.1}, lora(4)),
    "lora-rslora": Row({"type": "lora", "r": 4, "lora_dropout": 0.1, "use_rslora": True}, lora(4)),
    "lora-some": Row({"type": "lora", "r": 4, "target_modules": ["q_proj", "up_proj"]}, lora(4, "q_proj", "up_proj")),
    "lora-regex": Row(
        {"type": "lora", "r": 4, "target_modules": r".*\.1\..*(mlp\.up|q)_.*"}, lora(4, "q_proj", "up_proj") // 2
    ),
    "lora-gaussian": Row({"type": "lora", "r": 4, "init_lora_weights": "gaussian", "lora_plus_ratio": 4.0}, lora(4)),
    "lora-dora": Row(
        {"type": "lora", "r": 4, "lora_dropout": 0.1, "use_dora": True},
        lora(4) + LAYERS * sum(outputs for outputs, _ in LINEAR.values()),
    ),
    "lora-pissa": Row({"type": "lora", "r": 4, "lora_dropout": 0.1, "init_lora_weights": "pissa"}, lora(4)),
    "lora-pissa-dora": Row(
        {"type": "lora", "r": 4, "use_dora": True, "init_lora_weights": "pissa"},
        lora(4) + LAYERS * sum(outputs for outputs, _ in LINEAR.values()),
    ),
    "lora-olora": Row(
        {"type": "lora", "r": 4, "use_rslora": True, "init_lora_weights": "olora"},
        lora(4),
        learning_rate=5e-3,
        exactness=2e-4,
    ),
    "adalora": Row(
        {"type": "adalora", "init_r": 6, "target_r": 3, "lora_dropout": 0.1, "delta_t": 2},
        lora(6) + LAYERS * 6 * len(LINEAR),
    ),
    "adalora-early": Row(
        {"type": "adalora", "init_r": 4, "target_r": 1, "tinit": 5, "tfinal": 4, "delta_t": 1},
        lora(4) + LAYERS * 4 * len(LINEAR),
        learning_rate=0.05,
    ),
    "ia3": Row({"type": "ia3"}, LAYERS * (NARROW + NARROW + UNITS), learning_rate=0.1),
    "ia3-outputs": Row(
        {"type": "ia3", "target_modules": "all-linear"},
        LAYERS * sum(outputs for outputs, _ in LINEAR.values()),
        learning_rate=0.1,
    ),
    "oft": Row(
        {"type": "oft", "oft_block_size": 8},
        LAYERS * sum(inputs // 8 * (8 * 7 // 2) for _, inputs in LINEAR.values()),
    ),
    "oft-exact": Row(
        {
            "type": "oft",
            "oft_block_size": 16,
            "block_share": True,
            "use_cayley_neumann": False,
            "target_modules": ["q_proj", "down_proj"],
        },
        LAYERS * 2 * (16 * 15 // 2),
    ),
    "oft-constrained": Row(
        {"type": "oft", "oft_block_size": 8, "coft": True, "eps": 1.0},
        LAYERS * sum(inputs // 8 * (8 * 7 // 2) for _, inputs in LINEAR.values()),
    ),
    "full": Row(
        {"type": "full"},
        2 * EMBEDDING + LAYERS * BLOCK + WIDTH,
        learning_rate=2e-3,
    ),
    "freeze": Row({"type": "freeze", "num_trainable_layers": 1}, BLOCK, learning_rate=5e-3),
    "freeze-some": Row(
        {"type": "freeze", "num_trainable_layers": 0, "trainable_modules": ["mlp"], "train_embeddings": True},
        EMBEDDING + LAYERS * 3 * UNITS * WIDTH,
        learning_rate=5e-3,
    ),
    # By seed 0: q, o, up, a norm in the first layer; v, o, up, down, a norm in the second.
    "hft": Row(
        {"type": "hft"},
        3 * WIDTH * WIDTH + NARROW * WIDTH + 3 * UNITS * WIDTH + 2 * WIDTH,
        learning_rate=5e-3,
    ),
    # Trained beside 4 bits, read back beside the base as it is.
    "qlora": Row({"type": "qlora", "r": 4, "lora_dropout": 0.1}, lora(4), exactness=1e-2),
    "qlora-dora": Row(
        {"type": "qlora", "r": 4, "double_quant": False, "use_dora": True, "lora_plus_ratio": 4.0},
        lora(4) + LAYERS * sum(rows for rows, _ in LINEAR.values()),
    ),
    "bottleneck": Row(
        {"type": "bottleneck", "bottleneck_size": 8},
        LAYERS * 2 * (2 * WIDTH * 8 + WIDTH + 8),
    ),
    "bottleneck-one": Row(
        {"type": "bottleneck", "bottleneck_size": 16, "after": "feed_forward", "activation": "relu"},
        LAYERS * (2 * WIDTH * 16 + WIDTH + 16),
    ),
    "prompt_tuning": Row({"type": "prompt_tuning", "num_virtual_tokens": 6}, 6 * WIDTH, learning_rate=0.1),
    "prefix_tuning": Row(
        {"type": "prefix_tuning", "num_virtual_tokens": 5, "init_text": "hello world"},
        5 * LAYERS * 2 * NARROW,
        learning_rate=0.1,
    ),
    "prefix_tuning-network": Row(
        {"type": "prefix_tuning", "num_virtual_tokens": 4, "prefix_projection": True, "encoder_hidden_size": 12},
        4 * NARROW + (NARROW + 1) * 12 + (12 + 1) * LAYERS * 2 * NARROW,
    ),
    "spiel": Row({"type": "spiel", "r": 4, "update_steps": 4, "gradient_steps": 2}, lora(4)),
    # Checkpoints of steps 4 and 8 are in the middle of a period of watching.
    "spiel-often": Row(
        {"type": "spiel", "r": 3, "update_steps": 3, "gradient_steps": 2, "target_modules": ["q_proj", "up_proj"]},
        lora(3, "q_proj", "up_proj"),
    ),
    "spiel-momentum": Row(
        {"type": "spiel", "r": 4, "selection": "momentum", "update_steps": 3, "gradient_steps": 1}, lora(4)
    ),
    # Of layers: all seven of each block in one adapter, two of them in the other.
    "xlora": Row({"type": "xlora", "experts": ["expert-0", "expert-1"]}, LAYERS * len(LINEAR) * 2 * (WIDTH + 1)),
    "xlora-deep": Row(
        {
            "type": "xlora",
            "experts": ["expert-1", "expert-0"],
            "xlora_depth": 2,
            "xlora_size": 24,
            "xlora_dropout_p": 0.1,
            "softmax_temperature": 0.5,
        },
        (WIDTH + 1) * 24 + (24 + 1) * LAYERS * len(LINEAR) * 2,
        learning_rate=0.05,
    ),
    "xlora-trained": Row(
        {
            "type": "xlora",
            "experts": ["expert-0", "expert-1"],
            "layerwise_scalings": False,
            "use_trainable_adapters": True,
        },
        2 * (WIDTH + 1) + lora(4) + lora(3, "q_proj", "up_proj"),
    ),
    "custom": Row(
        {"type": "custom", "entry_point": f"{__name__}:scale_feed_forward", "options": {"start": 1.0}},
        LAYERS * WIDTH,
        learning_rate=0.5,
    ),
}


def scale_feed_forward(model: PreTrainedModel, options: Mapping[str, Any]) -> PreTrainedModel:
    """A method as a user may write it: one factor per output of every feed-forward part."""
    model.requires_grad_(False)
    for layer in model.get_decoder().layers:
        layer.mlp.factors = nn.Parameter(torch.full((WIDTH,), options["start"], dtype=model.dtype))
        layer.mlp.register_forward_hook(lambda part, _, output: output * part.factors)
    return model
