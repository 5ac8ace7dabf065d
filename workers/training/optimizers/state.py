"""An optimizer's state as named tensors, for checkpoints."""

from collections.abc import Mapping
from typing import Any

import torch
from bitsandbytes.optim.optimizer import Optimizer8bit
from torch import nn


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """The optimizer's state as `<parameter name>/<state name>`; nothing before the first step.

    A plain number, such as the step that bitsandbytes counts, becomes an int64 scalar.
    """
    return {
        f"{name}/{key}": value if torch.is_tensor(value) else torch.tensor(value)
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
        if value is not None
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, torch.Tensor]
) -> None:
    """The inverse of `optimizer_tensors`. The tensors are copied: they may be pages of a checkpoint's file."""
    for name, tensor in tensors.items():
        parameter_name, key = name.rsplit("/", 1)
        parameter = parameters[parameter_name]
        optimizer.state[parameter][key] = _value(optimizer, parameter, tensor)


def _value(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, tensor: torch.Tensor) -> Any:
    if tensor.ndim == 0 and tensor.dtype == torch.int64:
        return int(tensor)
    if isinstance(optimizer, Optimizer8bit) and tensor.shape == parameter.shape:
        # Memory as the optimizer itself would take it: in pages, if it pages.
        buffer: torch.Tensor = optimizer.get_state_buffer(parameter, dtype=tensor.dtype)  # type: ignore[no-untyped-call]
        return buffer.copy_(tensor)
    return tensor.to(parameter.device, copy=True)
