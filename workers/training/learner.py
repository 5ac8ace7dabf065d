"""What every forward and backward pass of a run has to know, in one value that the loop's parts share."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from workers.training.distributed.strategies.base import Strategy
from workers.training.distributed.world import World
from workers.training.methods.base import Control
from workers.training.objectives import Objective


@dataclass(frozen=True)
class Learner:
    """A model, what of it is trained, and how."""

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    """Those of `model` that are trained, by name; fp32."""
    objective: Objective
    """What is minimised."""
    control: Control
    """What the method does beside the optimizer."""
    device: torch.device
    """Where the model computes, wherever its weights are kept."""
    compute: torch.dtype
    """Of the matrix products."""
    world: World
    """The ranks that share each step among them."""
    strategy: Strategy
    """How they share the trained state."""
