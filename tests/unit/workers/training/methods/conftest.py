"""The base model of the matrix as a folder, because methods load it themselves and what they save goes beside it."""

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import nn

from tests.unit.workers.training.tiny_run import make_base
from workers.models import load_tokenizer, save_model


@pytest.fixture(scope="session")
def base_dir(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in fp32, with a tokenizer of its vocabulary. NF4 holds its linear weights exactly, so that what
    was trained beside 4 bits can be told from what 4 bits cost."""
    folder = tmp_path_factory.mktemp("models") / "base"
    tokenizer = load_tokenizer(tiny_model_dir)
    model = make_base(len(tokenizer))
    for layer in model.get_decoder().modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = dequantize_4bit(*quantize_4bit(layer.weight.data, blocksize=64, quant_type="nf4"))
    save_model(model, tokenizer, folder, torch.float32)
    return folder
