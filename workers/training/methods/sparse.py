"""Linear layers some of whose weights are changed: y = (W + S) x + b with W frozen and S sparse, in PEFT's layers of
SHiRA (Bhardwaj et al., 2024, arXiv:2406.13175).

PEFT's own forward pass keeps W + S of every layer for the backward pass, a second copy of the model, and with it the
gradient of all its weights. Here W + S is made where it is needed and dropped at once, and of its gradient, which is
there for one layer at a time, only what belongs to S is kept. That gradient is a product of whole matrices, because
picking inputs and outputs for each changed weight takes longer.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.shira import ShiraLayer
from torch import nn
from torch.autograd.function import once_differentiable

ADAPTER = "default"

Watch = Callable[[torch.Tensor], None]


class SparseChange:
    """S of one layer: where it is, and what is added there."""

    def __init__(self, name: str, layer: Any) -> None:
        """`layer` is one of PEFT's, called `name` in its model; it gets the forward pass of this module."""
        self.name = name
        self.shape: tuple[int, int] = tuple(layer.base_layer.weight.shape)
        self.values: nn.Parameter = layer.shira_weight[ADAPTER]
        """[k], fp32."""
        self.watch: Watch | None = None
        """Gets the gradient of W + S, [outputs, inputs], in every backward pass."""
        self._layer = layer
        rows, columns = layer.shira_indices[ADAPTER].long()
        self.positions = (rows * self.shape[1] + columns).to(self.values.device)
        """int64 [k]: where the values belong in the flattened weight. Changed by `move` alone."""
        layer.forward = partial(_forward, layer, self)
        # Nothing is cast by it, yet PEFT's helper for all adapters asks every layer for this switch.
        layer.cast_input_dtype_enabled = True

    def move(self, positions: torch.Tensor) -> None:
        """Puts the values elsewhere; `positions` are int64 [k], no two the same."""
        self.positions = positions
        places = torch.stack([positions // self.shape[1], positions % self.shape[1]])
        self._layer.shira_indices[ADAPTER] = places.int()


def sparse_changes(model: PeftModel) -> Iterator[SparseChange]:
    """Those of all layers of a fresh SHiRA adapter, in the order of the model."""
    for name, layer in model.named_modules():
        if isinstance(layer, ShiraLayer):
            yield SparseChange(name, layer)


def _forward(layer: Any, change: SparseChange, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if layer.disable_adapters or layer.merged:
        result: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    base = layer.base_layer
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    bias = None if base.bias is None else base.bias.to(dtype)
    rows = x.to(dtype).flatten(0, -2)
    changed: torch.Tensor = _Changed.apply(  # type: ignore[no-untyped-call]
        rows, change.values, base.weight.to(dtype), bias, change.positions, change.watch
    )
    return changed.view(*x.shape[:-1], -1)


class _Changed(torch.autograd.Function):
    """[T, inputs] -> [T, outputs], with a gradient for the rows and, fp32, for the values."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        values: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        positions: torch.Tensor,
        watch: Watch | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, values, weight, positions)
        ctx.watch = watch
        with torch.autocast(x.device.type, enabled=False):
            return nn.functional.linear(x, _sum(weight, positions, values), bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, values, weight, positions = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            inner = gradient @ _sum(weight, positions, values) if ctx.needs_input_grad[0] else None
            whole = gradient.T @ x
        if ctx.watch is not None:
            ctx.watch(whole)
        return inner, whole.flatten()[positions].to(values.dtype), None, None, None, None


def _sum(weight: torch.Tensor, positions: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """W + S in the dtype of W, added up in fp32."""
    changed = weight.clone(memory_format=torch.contiguous_format)
    flat = changed.view(-1)
    flat[positions] = (flat[positions].float() + values).to(weight.dtype)
    return changed
