"""The runs whose peak memory plan_accuracy.py compares with the plan: methods, objectives, settings, models, ranks."""

from dataclasses import dataclass, field
from typing import Any

STEPS = {"max_steps": 5, "eval_steps": 3, "save_steps": 3, "learning_rate": 1e-4}
"""In bf16 the kept products (luthier/settings.py) are all there after some steps, not after the first."""
LONG = {"max_steps": 100, "eval_steps": 25, "save_steps": 25}
"""As long as a small job; the C library's heap grows for all that time."""
SMALL = "smollm2-135m-instruct"
NARROW, TINY = "narrow", "tiny"
SHAPES = {NARROW: (384, 1024, 12, 6), TINY: (64, 160, 2, 4)}
"""Width, MLP, blocks and heads of models with random weights: quick, where SmolLM2 takes minutes."""


@dataclass(frozen=True)
class Case:
    """One run."""

    method: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    model: str = NARROW
    longest: int = 250
    """Tokens of the longest document; the shortest has a fifth of it."""
    num_shared: int = 0
    """Tokens that all documents begin with."""
    objective: str = "sft"
    distributed: dict[str, Any] | None = None
    """How two ranks share; None: there is but one."""
    example: str = ""
    """Name of an example of this repository, with its own data, in place of random documents; its own job file says
    all that is not said here."""
    is_fitted: bool = False
    """Whether a figure of the plan was set by it."""


LORA, QLORA, FULL = {"type": "lora", "r": 8}, {"type": "qlora", "r": 8}, {"type": "full"}
BF16, FP32 = {"precision": "bf16"}, {"precision": "fp32"}
_METHODS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "lora, some layers": LORA | {"target_modules": ["q_proj", "v_proj"]},
    "lora, dropout": LORA | {"lora_dropout": 0.1},
    "lora, dora": LORA | {"use_dora": True},
    "lora, pissa": LORA | {"init_lora_weights": "pissa"},
    "qlora": QLORA,
    "adalora": {"type": "adalora", "init_r": 12, "target_r": 8, "tinit": 1, "tfinal": 1},
    "ia3": {"type": "ia3"},
    "oft": {"type": "oft"},
    "bottleneck": {"type": "bottleneck"},
    "prompt_tuning": {"type": "prompt_tuning"},
    "prefix_tuning": {"type": "prefix_tuning"},
    "full": FULL,
    "freeze": {"type": "freeze", "num_trainable_layers": 4},
    "hft": {"type": "hft"},
    "spiel": {"type": "spiel", "update_steps": 2, "gradient_steps": 1},
    "spiel, momentum": {"type": "spiel", "selection": "momentum", "update_steps": 2, "gradient_steps": 1},
    "xlora": {"type": "xlora", "experts": ["expert-0", "expert-1"]},
    "xlora, trained": {"type": "xlora", "experts": ["expert-0", "expert-1"], "use_trainable_adapters": True},
}
OBJECTIVES: dict[str, dict[str, Any]] = {
    **{name: {"type": name} for name in ("sft", "dpo", "kto", "orpo", "classification", "reward", "distillation")},
    "grpo": {"type": "grpo", "rewards": [{"type": "length", "max_words": 20}], "max_completion_length": 128},
}
"""Sections by name. The teacher of a distillation is the model itself."""
_SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora bf16, checkpointing": (LORA, BF16 | {"gradient_checkpointing": "full"}),
    "lora fp32, checkpointing": (LORA, FP32 | {"gradient_checkpointing": "full"}),
    "full fp32, checkpointing": (FULL, FP32 | {"gradient_checkpointing": "full"}),
    "full bf16, half checkpointing": (FULL, BF16 | {"gradient_checkpointing": "selective"}),
    "full fp32, accumulation": (FULL, FP32 | {"gradient_accumulation_steps": 2}),
    "full fp32, adafactor": (FULL, FP32 | {"optim": "adafactor"}),
    "full fp32, 8 bits": (FULL, FP32 | {"optim": "adamw_8bit"}),
    "full fp32, sgd": (FULL, FP32 | {"optim": "sgd"}),
    "full fp32, lamb": (FULL, FP32 | {"optim": "lamb"}),
    "full fp32, average": (FULL, FP32 | {"ema_decay": 0.9}),
    "lora bf16, a hundred steps": (LORA, BF16 | LONG),
    "full fp32, a hundred steps": (FULL, FP32 | LONG),
}
_RANKS: dict[str, dict[str, Any]] = {
    "two ranks": {"type": "ddp"},
    "two ranks, zero 1": {"type": "zero", "stage": 1},
    "two ranks, zero 2": {"type": "zero", "stage": 2},
    "two ranks, zero 3": {"type": "zero", "stage": 3},
    "two ranks, fsdp": {"type": "fsdp"},
}
CASES = {
    "smollm2 lora bf16": Case(LORA, BF16, SMALL, is_fitted=True),
    "smollm2 lora fp32": Case(LORA, FP32, SMALL, is_fitted=True),
    **{f"narrow {name} bf16": Case(method, BF16, is_fitted=name == "lora") for name, method in _METHODS.items()},
    **{
        f"narrow {name}": Case(method, training, is_fitted=name == "lora bf16, checkpointing")
        for name, (method, training) in _SETTINGS.items()
    },
    **{f"narrow lora bf16, {name}": Case(LORA, BF16, objective=name) for name in OBJECTIVES if name != "sft"},
    "narrow lora bf16, shared beginnings": Case(LORA, BF16, num_shared=100),
    **{f"narrow full fp32, {name}": Case(FULL, FP32, distributed=section) for name, section in _RANKS.items()},
    "smollm2 lora bf16, checkpointing": Case(LORA, BF16 | {"gradient_checkpointing": "full"}, SMALL),
    "smollm2 lora bf16, two rows at a time": Case(LORA, BF16 | {"per_device_train_batch_size": 2}, SMALL),
    "smollm2 lora bf16, long documents": Case(LORA, BF16, SMALL, longest=1000),
    "smollm2 qlora bf16": Case(QLORA, BF16, SMALL),
    "smollm2 full bf16": Case(FULL, BF16, SMALL),
    "tiny lora fp32": Case(LORA, FP32, TINY),
    "tiny full fp32": Case(FULL, FP32, TINY),
    "narrow lora fp32": Case(LORA, FP32),
    "narrow full fp32": Case(FULL, FP32),
    "narrow prefix_tuning fp32": Case(_METHODS["prefix_tuning"], FP32),
    "narrow adalora fp32": Case(_METHODS["adalora"], FP32),
    "narrow oft fp32": Case(_METHODS["oft"], FP32),
    "smollm2 full fp32": Case(FULL, FP32, SMALL),
    "the example tickets, all of it, bf16": Case({}, BF16, SMALL, example="tickets", is_fitted=True),
}
