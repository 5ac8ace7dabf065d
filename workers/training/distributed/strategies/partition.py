"""Weights that ZeRO's stage 3 divides as it reads them (workers/models/unread.py): no rank has two of them whole.

`deepspeed.zero.Init` would do so while a model is made; here the model is there, with stand-ins for its weights.
"""

from collections.abc import Mapping
from typing import Any

import deepspeed
import torch
from torch import nn

from workers.models.unread import is_unread, take_unread
from workers.training.distributed.world import World


def read_in_parts(model: nn.Module, world: World, config: Mapping[str, Any]) -> None:
    """Gives each stand-in of `model` its values, and divides it among the ranks, one after the other.

    Rank 0 reads the file; DeepSpeed hands round what it has before it divides it. Without stand-ins nothing happens.

    Args:
        model: as the method left it.
        world: the ranks.
        config: what DeepSpeed is told of the run.
    """
    waiting = [parameter for parameter in model.parameters() if is_unread(parameter)]
    if not waiting:
        return
    # As deepspeed.initialize has it, which divides what is left.
    dtype = next(model.parameters()).dtype
    first, *others = waiting
    _give_values(first, world)
    deepspeed.zero.Init(nn.ParameterList([first]), config_dict_or_path=dict(config), dtype=dtype)
    for parameter in others:
        _give_values(parameter, world)
        first.convert_to_zero_parameters(param_list=[parameter])  # type: ignore[attr-defined]


def _give_values(parameter: nn.Parameter, world: World) -> None:
    """On rank 0; on the others there is room for them."""
    values = take_unread(parameter).values
    room = torch.empty(parameter.shape, dtype=parameter.dtype, device=parameter.device)
    parameter.data = room.copy_(values) if world.is_first else room
