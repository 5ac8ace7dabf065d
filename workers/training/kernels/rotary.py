"""Rotary positions on a CPU, with fewer trips over queries and keys (Su et al., 2021, arXiv:2104.09864).

transformers multiplies, negates, joins, multiplies and adds, each of them a pass over memory, and once more in the
backward pass. Here the halves are added into one product in place, and the backward pass is the same turn the other
way. A family whose function gives other numbers, say because it turns a part of each head alone, keeps its own.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

Rotate = Callable[..., tuple[torch.Tensor, torch.Tensor]]
"""`(query, key, cos, sin)`: [1, heads, T, head_dim] each of the first two, [1, T, head_dim] of the others."""

PLAIN, IN_PLACE = "transformers", "in_place"
_NAME, _NUM_ROWS = "apply_rotary_pos_emb", 5
_TOLERANCE = 1e-6


def choose_positions(model: PreTrainedModel, device: torch.device) -> tuple[str, dict[str, str]]:
    """Replaces the function in the module of the model's family, so for every model of it in this process that learns.

    Returns:
        `in_place`, or `transformers` and why not the other.
    """
    module = sys.modules[type(model).__module__]
    theirs: Rotate | None = getattr(module, _NAME, None)
    if device.type != "cpu":
        return PLAIN, {IN_PLACE: f"runs on a CPU only, not on {device.type}"}
    if theirs is None or not _agrees(theirs):
        return PLAIN, {IN_PLACE: f"models of type {model.config.model_type} do not turn whole heads by halves"}
    if not hasattr(theirs, "__wrapped__"):
        setattr(module, _NAME, _quicker(theirs))
    return IN_PLACE, {}


def _quicker(theirs: Rotate) -> Rotate:
    @wraps(theirs)
    def rotate(
        query: torch.Tensor, key: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *further: Any, **named: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # Without gradients there is little to gain, and a model that answers keeps to its family's last bit.
        is_plain = not further and not named and torch.is_grad_enabled() and query.device.type == "cpu"
        is_whole = query.shape[-1] == key.shape[-1] == cos.shape[-1] and query.dtype == key.dtype == cos.dtype
        if not (is_plain and is_whole and cos.ndim == 3):
            return theirs(query, key, cos, sin, *further, **named)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return _Turn.apply(query, cos, sin), _Turn.apply(key, cos, sin)  # type: ignore[no-untyped-call]

    return rotate


class _Turn(torch.autograd.Function):
    """[1, heads, T, head_dim] turned by angles whose cosines and sines are [1, 1, T, head_dim]."""

    @staticmethod
    def forward(ctx: Any, heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        first, second = sin.chunk(2, dim=-1)
        return _turned(heads, cos, -first, second)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        first, second = sin.chunk(2, dim=-1)
        return _turned(gradient, cos, second, -first), None, None


def _turned(heads: torch.Tensor, cos: torch.Tensor, to_first: torch.Tensor, to_second: torch.Tensor) -> torch.Tensor:
    """`heads` times `cos`, and what each half of a head gives to the other one."""
    first, second = heads.chunk(2, dim=-1)
    turned = heads * cos
    own_first, own_second = turned.chunk(2, dim=-1)
    own_first.addcmul_(second, to_first)
    own_second.addcmul_(first, to_second)
    return turned


def _agrees(theirs: Rotate) -> bool:
    """Whether it computes what `_Turn` does, for angles that the halves of a head share."""
    chance = torch.Generator().manual_seed(0)
    query, key, angles = (torch.randn(1, size, _NUM_ROWS, 8, generator=chance) for size in (3, 1, 1))
    angles = torch.cat([angles[0, ..., :4], angles[0, ..., :4]], dim=-1)
    try:
        found = theirs(query, key, angles.cos(), angles.sin())
    except (TypeError, RuntimeError):  # it wants something else
        return False
    with torch.enable_grad():
        expected = _quicker(theirs)(query, key, angles.cos(), angles.sin())
    return all(torch.allclose(one, other, atol=_TOLERANCE) for one, other in zip(found, expected, strict=True))
