"""Loads a base model together with a trained adapter. Apart from load.py, because importing PEFT takes seconds."""

from pathlib import Path

import torch
from peft import PeftModel

from workers.models.load import load_model


def load_tuned(base: Path, adapter: Path, dtype: torch.dtype) -> PeftModel:
    """The base model with a trained adapter beside it, in evaluation mode, on the CPU.

    Base and adapter get `dtype`: what autocast makes of the adapter's float32 weights in training. With
    `model.disable_adapter()` it is the base model again.
    """
    model = PeftModel.from_pretrained(
        load_model(base, dtype), str(adapter), autocast_adapter_dtype=False, local_files_only=True
    )
    model.eval()
    return model
