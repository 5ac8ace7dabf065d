"""LoRA's forward and backward pass with as few trips over the activations as there can be.

PEFT computes W x, then B A x, a product of that with the scale, and a sum: three passes over rows as wide as the
layer's output, and three more in the backward pass. Here the scale goes into the narrow product, and the sum is made by
the product itself (`addmm_`). The numbers are the same up to rounding. What is not plain LoRA keeps PEFT's own code.
"""

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.autograd.function import once_differentiable


def fuse(model: nn.Module) -> int:
    """Gives every plain LoRA layer of `model` the forward pass of this module; returns how many there were."""
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def _is_plain(layer: Linear) -> bool:
    """Whether the layer computes W x + s B A x and nothing else."""
    if len(layer.active_adapters) != 1:
        return False
    name = layer.active_adapters[0]
    return (
        type(layer.base_layer) is nn.Linear
        and name in layer.lora_A
        and name not in layer.lora_variant
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and layer.lora_A[name].bias is None
        and layer.lora_B[name].bias is None
    )


def _forward(layer: Linear, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs or not _is_plain(layer):
        result: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    name = layer.active_adapters[0]
    base, down, up = layer.base_layer, layer.lora_A[name].weight, layer.lora_B[name].weight
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    flat = x.to(dtype).flatten(0, -2)
    bias = None if base.bias is None else base.bias.to(dtype)
    added: torch.Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
        flat, base.weight.to(dtype), bias, down, up, layer.scaling[name]
    )
    return added.view(*x.shape[:-1], -1)


class _LowRank(torch.autograd.Function):
    """[T, inner] -> [T, outer]: x W' + b + s (x A') B', with W and b frozen; A [r, inner] and B [outer, r] in fp32."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            low_down, low_up = down.to(x.dtype), up.to(x.dtype)
            narrow = x @ low_down.T
            wide = nn.functional.linear(x, weight, bias)
            wide.addmm_(narrow, low_up.T, alpha=scale)
        ctx.save_for_backward(x, weight, low_down, low_up, narrow)
        ctx.scale = scale
        ctx.dtypes = down.dtype, up.dtype
        return wide

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, down, up, narrow = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            narrow_gradient = (gradient @ up).mul_(ctx.scale)
            # A thin left side is the quicker one.
            up_gradient = (narrow.T @ gradient).mul_(ctx.scale).T
            down_gradient = narrow_gradient.T @ x
            inner = None
            if ctx.needs_input_grad[0]:
                inner = (gradient @ weight).addmm_(narrow_gradient, down)
        return inner, None, None, down_gradient.to(ctx.dtypes[0]), up_gradient.to(ctx.dtypes[1]), None
