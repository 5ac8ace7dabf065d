"""The base model of the matrix as a folder, because methods load it themselves and what they save goes beside it; two
adapters to mix; and a teacher."""

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.unit.workers.training.methods.pairings import Models
from tests.unit.workers.training.tiny_run import make_base
from workers.models import load_model, load_tokenizer, save_model


@pytest.fixture(scope="session")
def base_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in fp32, with a tokenizer of its vocabulary. NF4 holds its linear weights exactly, so that what
    was trained beside 4 bits can be told from what 4 bits cost. Beside it are `expert-0` and `expert-1`: LoRA adapters
    with random weights, of all linear layers and of two in every block."""
    folder = tmp_path_factory.mktemp("models") / "base"
    tokenizer = load_tokenizer(tiny_model_dir)
    model = make_base(len(tokenizer))
    for layer in model.get_decoder().modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = dequantize_4bit(*quantize_4bit(layer.weight.data, blocksize=64, quant_type="nf4"))
    save_model(model, tokenizer, folder, torch.float32)
    for number, config in enumerate(
        (
            LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False),
            LoraConfig(r=3, use_rslora=True, target_modules=["q_proj", "up_proj"], init_lora_weights=False),
        )
    ):
        adapted = get_peft_model(make_base(len(tokenizer)), config)
        adapted.save_pretrained(folder.parent / f"expert-{number}")
    return folder


@pytest.fixture(scope="session")
def models(base_dir: Path) -> Models:
    """The base model, and a teacher of the same vocabulary that finds other tokens likely."""
    teacher = load_model(base_dir, torch.float32)
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.mul_(0.7)
    folder = base_dir.parent / "teacher"
    save_model(teacher, load_tokenizer(base_dir), folder, torch.float32)
    return Models(base_dir, folder)
