"""How a base model becomes trainable and what is left of it afterwards, by the name that the job file uses.

A new method is one file with `load`, `adapt` and `save`, one row here, and its section in `luthier/spec/method`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from workers.models.tuned import TunedModel
from workers.training.methods import full, lora
from workers.training.methods.base import load_base


@dataclass(frozen=True)
class Method:
    """One method."""

    load: Callable[[Path, torch.dtype, torch.device], PreTrainedModel]
    """The base model in a folder, for matrix products in that dtype, on that device."""
    adapt: Callable[[PreTrainedModel, Any], TunedModel]
    """By the method's section, makes trainable what is to be trained, in fp32, and freezes the rest."""
    save: Callable[[Any, Path, Path], None]
    """Writes the trained model, whose base lies in the first folder, into a train artifact, the second."""


METHODS: dict[str, Method] = {
    "lora": Method(load=load_base, adapt=lora.add_lora, save=lora.save_adapter),
    "full": Method(load=full.load_masters, adapt=full.train_all, save=full.save_whole),
}
