"""RMSNorm with a frozen scale in bf16 or fp16 on a CPU, as one autograd function.

Zhang & Sennrich, 2019, arXiv:1910.07467. transformers computes it in fp32, step by step, and its backward pass takes
twice the time it has to. Here the output is theirs, bit by bit, and the backward pass is the formula. It keeps the rows
in their own dtype and one number for each. A family whose norm computes something else, say because it adds one to the
scale, keeps its own; so does a norm that is trained.
"""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

PLAIN, FORMULA = "transformers", "formula"
_NUM_ROWS = 5


def choose_norms(model: PreTrainedModel, compute: torch.dtype, device: torch.device) -> tuple[str, dict[str, str]]:
    """Gives the norms of `model` that can have it this forward pass.

    Returns:
        `formula`, or `transformers` and why not the other.
    """
    if device.type != "cpu":
        return PLAIN, {FORMULA: f"runs on a CPU only, not on {device.type}"}
    if compute == torch.float32:
        return PLAIN, {FORMULA: "is for bf16 and fp16"}
    norms = [part for part in model.modules() if type(part).__name__.endswith("RMSNorm") and _agrees(part)]
    for norm in norms:
        norm.forward = partial(_forward, norm)
    if not norms:
        return PLAIN, {
            FORMULA: f"models of type {model.config.model_type} have no norm with a frozen scale that agrees"
        }
    return FORMULA, {}


def _forward(norm: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    """[..., width] -> the same."""
    scale: Any = norm.weight
    # Without gradients there is little to gain, and fp32 rows would be written over.
    is_ours = torch.is_grad_enabled() and hidden.requires_grad and not scale.requires_grad
    if not is_ours or hidden.dtype != scale.dtype or hidden.dtype == torch.float32:
        result: torch.Tensor = type(norm).forward(norm, hidden)
        return result
    normed: torch.Tensor = _RmsNorm.apply(hidden, scale, norm.variance_epsilon)  # type: ignore[no-untyped-call]
    return normed


class _RmsNorm(torch.autograd.Function):
    """Rows [..., width], scale [width] of the same 16 bits, epsilon -> rows over their root mean square, scaled."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, scale: torch.Tensor, epsilon: float) -> torch.Tensor:
        exact = rows.float()
        factor = exact.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
        ctx.save_for_backward(rows, scale, factor)
        return exact.mul_(factor).to(rows.dtype).mul_(scale)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, scale, factor = ctx.saved_tensors
        normed = rows.float().mul_(factor)
        scaled = (gradient * scale).float()
        mean = (normed * scaled).mean(-1, keepdim=True)
        return scaled.addcmul_(normed, mean, value=-1).mul_(factor).to(rows.dtype), None, None


def _agrees(norm: nn.Module) -> bool:
    """Whether it computes what `_RmsNorm` does, with a scale that is frozen."""
    scale, epsilon = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
    if not isinstance(scale, torch.Tensor) or epsilon is None or scale.requires_grad or scale.ndim != 1:
        return False
    if scale.dtype == torch.float32:
        return False
    rows = torch.randn(_NUM_ROWS, len(scale), generator=torch.Generator().manual_seed(0)).to(scale.dtype)
    with torch.no_grad():
        found: torch.Tensor = _RmsNorm.apply(rows, scale, epsilon)  # type: ignore[no-untyped-call]
        return torch.equal(norm(rows), found)
