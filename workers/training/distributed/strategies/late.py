"""Weights that are divided before they are read (workers/models/unread.py): FSDP's ranks read their rows alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from workers.models.unread import Unread, is_unread, take_unread


@dataclass(frozen=True)
class Late:
    """One such weight."""

    unread: Unread
    parameter: nn.Parameter
    """In its place, on the meta device; `fully_shard` makes a DTensor of it."""
    places: list[tuple[nn.Module, str]] = field(default_factory=list)
    """Where it stands: a tied weight, at several."""


def set_aside(model: nn.Module) -> list[Late]:
    """Puts the stand-ins of `model` on the meta device, which is the only one where `fully_shard` takes no values."""
    found: dict[nn.Parameter, Late] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if is_unread(parameter):
                found[parameter] = Late(take_unread(parameter), _without_values(parameter))
            if parameter in found:
                found[parameter].places.append((module, name))
                module.register_parameter(name, found[parameter].parameter)
    return list(found.values())


def fill(late: Late, device: torch.device, read: Callable[[torch.Tensor, Unread], None]) -> None:
    """Gives this rank's rows of a weight, which has been divided, their values.

    Args:
        late: what `set_aside` returned.
        device: where the rows are kept.
        read: called with a DTensor of rows without values, and the weight.
    """
    module, name = late.places[0]
    divided = module.get_parameter(name)
    assert isinstance(divided, DTensor)
    rows = torch.empty_like(divided, device=device, requires_grad=False)
    read(rows, late.unread)
    parameter = nn.Parameter(rows, requires_grad=divided.requires_grad)
    for module, name in late.places:
        module.register_parameter(name, parameter)


def _without_values(parameter: nn.Parameter) -> nn.Parameter:
    empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
    return nn.Parameter(empty, requires_grad=parameter.requires_grad)
