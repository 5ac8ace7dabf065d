"""W x + b + s B A x of LoRA layers that read the same rows, as one autograd function.

Hu et al., 2021, arXiv:2106.09685. PEFT computes W x, then B A x, a product of that with the scale, and a sum: three
passes over rows as wide as the layer's output, and three more in the backward pass. Here the scale goes into B, and the
sum is made by the product itself (`addmm_`). What the layers share is done once: the product with all of A, the
gradient of all of A, and the sum of the gradients of the rows. The numbers are the same up to rounding.

Narrow matrices lie with the rank first, which products in bf16 on a CPU are quicker with.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.function import once_differentiable


class Part(NamedTuple):
    """One of the layers. A and B are trained, the rest is frozen."""

    weight: torch.Tensor
    """W [outer, inner], in the dtype of the rows."""
    bias: torch.Tensor | None
    """b [outer], in the dtype of the rows."""
    down: torch.Tensor
    """A [r, inner] of any dtype, the same in all parts."""
    up: torch.Tensor
    """B [outer, r] of any dtype, the same in all parts."""
    scale: float
    """s"""


def low_rank(rows: torch.Tensor, parts: Sequence[Part]) -> tuple[torch.Tensor, ...]:
    """Rows [T, inner] -> [T, outer] for each of `parts`, in the dtype of the rows."""
    weights, biases, downs, ups, scales = zip(*parts, strict=True)
    outputs: tuple[torch.Tensor, ...] = _LowRank.apply(  # type: ignore[no-untyped-call]
        rows, scales, *weights, *biases, *downs, *ups
    )
    return outputs


class _LowRank(torch.autograd.Function):
    """Rows and scales of n parts, then every W, every b, every A and every B."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, scales: Sequence[float], *tensors: torch.Tensor) -> tuple[Any, ...]:
        num = len(scales)
        weights, biases, downs, ups = (tensors[start : start + num] for start in range(0, 4 * num, num))
        with torch.autocast(rows.device.type, enabled=False):
            down = torch.cat(downs).to(rows.dtype)
            low_ups = [(up * scale).to(rows.dtype) for up, scale in zip(ups, scales, strict=True)]
            narrow = down @ rows.T
            ranks = [len(one) for one in downs]
            outputs = tuple(
                nn.functional.linear(rows, weight, bias).addmm_(own.T, up.T)
                for weight, bias, up, own in zip(weights, biases, low_ups, torch.split(narrow, ranks), strict=True)
            )
        ctx.save_for_backward(rows, down, narrow, *weights, *low_ups)
        ctx.scales, ctx.ranks = scales, ranks
        ctx.dtypes = downs[0].dtype, ups[0].dtype
        return outputs

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, down, narrow, *tensors = ctx.saved_tensors
        num = len(gradients)
        weights, ups = tensors[:num], tensors[num:]
        with torch.autocast(rows.device.type, enabled=False):
            thin = torch.cat([up.T @ gradient.T for up, gradient in zip(ups, gradients, strict=True)])
            up_gradients = [
                (own @ gradient).T.to(ctx.dtypes[1]).mul_(scale)
                for own, gradient, scale in zip(narrow.split(ctx.ranks), gradients, ctx.scales, strict=True)
            ]
            down_gradients = (thin @ rows).to(ctx.dtypes[0]).split(ctx.ranks)
            inner = None
            if ctx.needs_input_grad[0]:
                inner = gradients[0] @ weights[0]
                for gradient, weight in zip(gradients[1:], weights[1:], strict=True):
                    inner.addmm_(gradient, weight)
                inner.addmm_(thin.T, down)
        return (inner, None, *[None] * (2 * num), *down_gradients, *up_gradients)
