"""The random generators that a training step draws from: those of torch, for dropout and layer drop.

The sampler makes its own generator from the seed and the epoch; nothing in a step draws from Python's or NumPy's.
"""

from collections.abc import Mapping

import torch


def rng_tensors(device: torch.device) -> dict[str, torch.Tensor]:
    """Their states by device type, uint8."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def load_rng_tensors(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """The inverse of `rng_tensors`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
