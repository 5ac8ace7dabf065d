"""LoRA's forward and backward pass with as few trips over the activations as there can be (low_rank.py).

Layers of one block that are given the very same tensor, such as those of queries, keys and values, are computed
together: by the first that is called; the others find their output ready. What is not plain LoRA keeps PEFT's own code,
and a layer whose siblings cannot be looked at, or that is called alone, is computed alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn

from workers.training.methods.low_rank import Part, low_rank

_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names, within one module, of layers that may read the same."""


def fuse(model: nn.Module) -> int:
    """Gives every plain LoRA layer of `model` the forward pass of this module; returns how many there were."""
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    for siblings in _grouped(model, layers):
        shared = _Shared(siblings)
        for place, layer in enumerate(siblings):
            layer.forward = partial(shared.forward, place)  # type: ignore[method-assign]
    return len(layers)


def _grouped(model: nn.Module, layers: Iterable[Linear]) -> Iterator[list[Linear]]:
    """`layers`, each once: those that may read the same together, the others alone."""
    left = dict.fromkeys(layers)
    for parent in model.modules():
        for names in _TOGETHER:
            children = [child for name, child in parent.named_children() if name in names]
            siblings = [child for child in children if isinstance(child, Linear) and child in left]
            if len({layer.in_features for layer in siblings}) == 1:
                for layer in siblings:
                    del left[layer]
                yield siblings
    for layer in left:
        yield [layer]


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


def _computes(layer: Linear) -> bool:
    """Whether that is what it does now."""
    return not layer.disable_adapters and not layer.merged and _is_plain(layer)


def _can_wait(layer: Linear) -> bool:
    """Whether its weights are there before it is called: ZeRO-3 gathers them layer by layer."""
    return not hasattr(layer.base_layer.weight, "ds_id")


class _Shared:
    """The forward pass of layers that may be given the same tensor."""

    def __init__(self, layers: Sequence[Linear]) -> None:
        """`layers` have as many inputs as one another."""
        self._layers = layers
        self._source: torch.Tensor | None = None
        self._ready: dict[int, torch.Tensor] = {}

    def forward(self, place: int, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Of the layer at `place`: [..., inner] -> [..., outer], in the dtype that autocast asks for, or that of x."""
        layer = self._layers[place]
        if args or kwargs or not _computes(layer):
            result: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
            return result
        if self._source is not x or place not in self._ready or not torch.is_grad_enabled():
            places = self._together(place)
            self._ready = dict(zip(places, _compute([self._layers[each] for each in places], x), strict=True))
        output = self._ready.pop(place)
        self._source = x if self._ready else None
        return output

    def _together(self, place: int) -> Sequence[int]:
        """Who is computed with the layer at `place`. Without gradients each is computed alone: little is to gain."""
        if torch.is_grad_enabled() and all(_computes(layer) and _can_wait(layer) for layer in self._layers):
            return range(len(self._layers))
        return (place,)


def _compute(layers: Sequence[Linear], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
    outputs = low_rank(x.to(dtype).flatten(0, -2), [_part(layer, dtype) for layer in layers])
    return tuple(output.view(*x.shape[:-1], -1) for output in outputs)


def _part(layer: Linear, dtype: torch.dtype) -> Part:
    name = layer.active_adapters[0]
    base: Any = layer.base_layer
    down: Any = layer.lora_A[name]
    up: Any = layer.lora_B[name]
    bias = None if base.bias is None else base.bias.to(dtype)
    return Part(base.weight.to(dtype), bias, down.weight, up.weight, layer.scaling[name])
