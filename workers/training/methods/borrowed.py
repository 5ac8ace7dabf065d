"""LoRA that starts at a part of the weight: what it was, so that the adapter fits the base model as it is published.

PiSSA (Meng et al., 2024, arXiv:2404.02948) and OLoRA (Büyükakyüz, 2024, arXiv:2406.01775) set the update to
s B0 A0 and the frozen weight to W - s B0 A0. After training the layer computes W + s (B A - B0 A0), which is an update
of twice the rank beside the W that everybody has: s [B, -B0] [A; A0] (section 3 of the PiSSA paper).

The decomposition is done anew by every attempt. Another machine may find other vectors, so B0 and A0 are in the
checkpoint, and an attempt that finds others corrects its weights by the difference.
"""

from collections.abc import Iterator, Mapping

import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

_ADAPTER = "default"


class BorrowedStart:
    """A `Control` that gives the start back when training is over."""

    def __init__(self, model: PeftModel, rate_ratios: Mapping[str, float]) -> None:
        """`model` has just been adapted; `rate_ratios` are those of `Control`."""
        self.rate_ratios = rate_ratios
        self._model = model
        self._starts = {
            key: factor.weight.detach().clone()
            for name, layer in self._layers()
            for key, factor in zip((f"{name}.A", f"{name}.B"), _factors(layer), strict=True)
        }

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Nothing."""

    def before_step(self, step: int) -> None:
        """Nothing."""

    def after_step(self, step: int) -> None:
        """Nothing."""

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """fp32 `<layer>.A` [r, inputs] and `<layer>.B` [outputs, r] as they were before the first step."""
        return self._starts

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Makes the frozen weights what they were for the attempt that this is the state of."""
        assert tensors.keys() == self._starts.keys(), "the checkpoint is of another method"
        for name, layer in self._layers():
            ours = self._update(name, layer)
            for key in (f"{name}.A", f"{name}.B"):
                self._starts[key] = tensors[key].to(self._starts[key].device, copy=True)
            theirs = self._update(name, layer)
            if not torch.equal(ours, theirs):
                _add_to_base(layer, ours - theirs)

    def finish(self) -> None:
        """Turns the adapter into one of twice the rank, beside the weights of the published base model."""
        for name, layer in self._layers():
            _add_to_base(layer, self._update(name, layer))
            first, second = _factors(layer)
            with torch.no_grad():
                first.weight = nn.Parameter(torch.cat([first.weight, self._starts[f"{name}.A"]]))
                second.weight = nn.Parameter(torch.cat([second.weight, -self._starts[f"{name}.B"]], dim=1))
            first.out_features = second.in_features = layer.r[_ADAPTER] = 2 * layer.r[_ADAPTER]
        config = self._model.peft_config[_ADAPTER]
        assert isinstance(config, LoraConfig)
        scale = 2**0.5 if config.use_rslora else 2
        config.r, config.lora_alpha = 2 * config.r, scale * config.lora_alpha  # type: ignore[assignment]
        config.init_lora_weights = True

    def _layers(self) -> Iterator[tuple[str, LoraLayer]]:
        return ((name, part) for name, part in self._model.named_modules() if isinstance(part, LoraLayer))

    def _update(self, name: str, layer: LoraLayer) -> torch.Tensor:
        """fp32 [outputs, inputs]: s B0 A0."""
        scaling: float = layer.scaling[_ADAPTER]
        return scaling * (self._starts[f"{name}.B"] @ self._starts[f"{name}.A"])


def _factors(layer: LoraLayer) -> tuple[nn.Linear, nn.Linear]:
    """A and B."""
    first, second = layer.lora_A[_ADAPTER], layer.lora_B[_ADAPTER]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    return first, second


def _add_to_base(layer: LoraLayer, update: torch.Tensor) -> None:
    base = layer.get_base_layer()
    turned = update.T if isinstance(base, Conv1D) else update
    weight = base.get_parameter("weight")
    weight.data = (weight.data.float() + turned).to(weight.dtype)
