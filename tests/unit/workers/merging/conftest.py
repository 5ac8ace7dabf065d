"""Adapters of the teachable model with random weights, as PEFT saves them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from workers.models import load_model

MakeAdapter = Callable[..., Path]


@pytest.fixture
def make_adapter(teachable_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeAdapter:
    """A function that writes an adapter below the worker's data roots; keywords are those of LoraConfig."""
    root = teachable_model_dir.parent / tmp_path_factory.mktemp("adapters").name
    root.mkdir()

    def make(name: str, seed: int, **config: Any) -> Path:
        settings = {"target_modules": "all-linear", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8} | config
        torch.manual_seed(seed)
        model = get_peft_model(load_model(teachable_model_dir, torch.float32), LoraConfig(**settings))
        with torch.no_grad():
            for part, weight in model.named_parameters():
                if "lora_B" in part:
                    weight.normal_(std=0.05)
                elif "magnitude" in part:
                    weight.mul_(1.1)
        model.save_pretrained(root / name)
        return root / name

    return make
