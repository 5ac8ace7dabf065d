"""Models whose weights are still in their files: for ranks that divide a model, and need no more of it than their part.

A parameter of such a model is a stand-in, one zero that is seen as many: it has shape, dtype and device of the
parameter and the memory of a number. So a method puts adapters beside it as beside the weight, from the same random
numbers (on torch's meta device PEFT would make them there as well). Behind it is the weight as it is stored, which the
kernel maps from the file: what is never read never comes into memory.

Names, tied weights and buffers are those of transformers, which loads the model. Where it has to make new tensors, such
as experts that it stacks, they are in memory as ever; values are right in any case.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from workers.models.load import load_model

_BEHIND = "luthier_unread"
_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""As safetensors calls them."""


@dataclass(frozen=True)
class Unread:
    """A weight in a file."""

    values: torch.Tensor
    """In its own shape, in the dtype that it is stored in."""

    def read(self, start: int, stop: int) -> torch.Tensor:
        """[stop - start]: these elements of the flattened weight; they are pages of the file."""
        return self.values.flatten()[start:stop]


def load_unread(folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """As `load_model`, on `device`, but every parameter is a stand-in.

    Where a weight of the files is not as precise as another one, or would not become what `load_model` makes of it, all
    of them are read.
    """
    stored = _only_dtype(folder.glob("*.safetensors"))
    model: Any = load_model(folder, stored or dtype)
    if stored is None or (dtype not in (stored, torch.float32) and _keeps_some_precise(model)):
        model = load_model(folder, dtype)
    else:
        for parameter in model.parameters():
            setattr(parameter, _BEHIND, Unread(parameter.data))
            wanted = parameter.dtype if dtype == stored else dtype
            parameter.data = torch.zeros((), dtype=wanted, device=device).expand(parameter.shape)
    loaded: PreTrainedModel = model.to(device)
    return loaded


def is_unread(parameter: nn.Parameter) -> bool:
    """Whether it is a stand-in."""
    return hasattr(parameter, _BEHIND)


def take_unread(parameter: nn.Parameter) -> Unread:
    """What is behind a stand-in, which then is none any more: whoever takes it gives the parameter its values."""
    unread: Unread = getattr(parameter, _BEHIND)
    delattr(parameter, _BEHIND)
    return unread


def read_whole(module: nn.Module) -> None:
    """Gives the stand-ins of a module that nobody divides their values."""
    for parameter in module.parameters():
        if is_unread(parameter):
            parameter.data = take_unread(parameter).values.to(parameter.device, parameter.dtype, copy=True)


def _only_dtype(paths: Iterable[Path]) -> torch.dtype | None:
    """The dtype of all tensors in these files; None where they have several, or one that is not known here."""
    found = set()
    for path in paths:
        with safe_open(path, "pt") as file:
            found |= {str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118 - no mapping
    return _DTYPES.get(found.pop()) if len(found) == 1 else None


def _keeps_some_precise(model: Any) -> bool:
    """Whether transformers keeps some weights of this architecture in fp32 where others have 16 bits."""
    return bool(model._keep_in_fp32_modules or model._keep_in_fp32_modules_strict)
