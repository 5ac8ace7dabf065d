"""Full fine-tuning: every weight of the base model is trained.

Master weights are fp32, because an update of 1e-5 of a weight is lost in bf16's eight bits of mantissa; matrix products
use the compute dtype (autocast, see loss.py). Memory per parameter: 4 bytes of weight, 4 of gradient, 8 of AdamW's two
moments, so 16 in all, and 2 more for the copy that a bf16 product reads. A checkpoint holds 12 of them: all but the
gradient. What comes out has the dtype that the base model is stored in, and its size.
"""

from pathlib import Path

import torch
from transformers import PreTrainedModel

from luthier.spec import FullSpec
from workers.models import load_tokenizer, save_model, stored_dtype
from workers.models.tuned import MODEL
from workers.training.methods.base import load_base, load_base_unread


def load_masters(folder: Path, _: torch.dtype, device: torch.device, __: object = None) -> PreTrainedModel:
    """The base model in fp32, whatever dtype the products get."""
    return load_base(folder, torch.float32, device)


def load_masters_unread(folder: Path, _: torch.dtype, device: torch.device, __: object = None) -> PreTrainedModel:
    """The same, whose weights are still in their files."""
    return load_base_unread(folder, torch.float32, device)


def train_all(model: PreTrainedModel, _: FullSpec) -> PreTrainedModel:
    """Makes every parameter trainable. Weights that are tied are one parameter and count once."""
    return model.requires_grad_(True)


def save_whole(model: PreTrainedModel, base: Path, folder: Path) -> None:
    """Writes `model/` as plain transformers loads it, tokenizer included. Casts `model` in place."""
    save_model(model, load_tokenizer(base), folder / MODEL, stored_dtype(base))
