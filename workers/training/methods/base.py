"""The base model as every method gets it: on its device, attending inside documents."""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from workers.models import load_model
from workers.training.attention import register


def load_base(folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The model in `folder` with weights in `dtype`, with the `luthier_documents` attention."""
    model = load_model(folder, dtype)
    model.to(device)  # type: ignore[arg-type]  # the wrapper of transformers hides the signature
    model.set_attn_implementation(register())
    return model
