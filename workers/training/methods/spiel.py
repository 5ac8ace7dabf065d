"""SpIEL: sparse fine-tuning of weights that are found in training (Ansell et al., 2024, arXiv:2401.16405).

Of every layer r (inputs + outputs) weights are changed. They begin at random; regrowth.py takes back those that changed
least and finds others. PEFT does not know the method, but SHiRA is the same kind of adapter with positions that stay,
so what was trained is saved as one: plain PEFT loads it, switches it off and merges it.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from peft import PeftModel, ShiraConfig
from torch import nn
from transformers import PreTrainedModel

from luthier.spec import SpielSpec
from workers.failures import ConfigError
from workers.models.linear import shape_of
from workers.training.methods.adapter import attach
from workers.training.methods.base import Control
from workers.training.methods.growth import Accumulated, Estimated, Growth
from workers.training.methods.regrowth import Regrowth
from workers.training.methods.sparse import sparse_changes
from workers.training.methods.targets import peft_targets, target_layers

_log = logging.getLogger(__name__)
_MASK = "spiel"
_GROWTHS: dict[str, type[Growth]] = {"accumulated_gradient": Accumulated, "momentum": Estimated}


def add_spiel(model: PreTrainedModel, spec: SpielSpec) -> PeftModel:
    """Freezes `model` and adds changes of nothing, in fp32, at random positions.

    Raises:
        ConfigError: `target_modules` names a layer that the model does not have, or one that has fewer weights than
            are to be changed, or that PEFT has no sparse adapter for.
    """
    layers = target_layers(model, spec.target_modules)
    _check(spec.r, layers)
    config = ShiraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        mask_type=_MASK,  # type: ignore[arg-type]  # any name but its own: the positions come with the weights
        target_modules=peft_targets(spec.target_modules, layers),
        inference_mode=True,
    )
    config.inference_mode = False
    config.mask_fn = _random_mask  # type: ignore[assignment]
    adapted = attach(model, config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def control_spiel(model: PeftModel, spec: SpielSpec, num_steps: int) -> Control:
    """What finds the weights.

    Raises:
        ConfigError: the job computes in fp16, whose scaled gradients cannot be accumulated.
    """
    if num_steps <= spec.gradient_steps:
        _log.warning(
            "the run has %d optimizer steps, and method.gradient_steps (%d) leaves none of them for weights that are "
            "chosen: those that are trained were drawn by lot; lower it, or train longer",
            num_steps,
            spec.gradient_steps,
        )
    changes = list(sparse_changes(model))
    if spec.selection == "accumulated_gradient" and model.dtype == torch.float16:
        raise ConfigError(
            "method.selection accumulated_gradient adds up gradients over steps, which fp16 scales differently each "
            "time; set training.precision: bf16 or fp32, or method.selection: momentum"
        )
    growth = _GROWTHS[spec.selection]
    return Regrowth({change.name: (change, growth(change)) for change in changes}, spec, num_steps)


def _check(r: int, layers: Mapping[str, nn.Module]) -> None:
    for name, layer in layers.items():
        if not isinstance(layer, nn.Linear):
            raise ConfigError(
                f"{name} is a {type(layer).__name__}, which PEFT has no sparse adapter for; use another method, or "
                f"leave that layer out of method.target_modules"
            )
        num_outputs, num_inputs = shape_of(layer)
        most = num_outputs * num_inputs // (num_outputs + num_inputs)
        if r > most:
            raise ConfigError(
                f"method.r {r} asks for {r * (num_outputs + num_inputs)} changed weights in {name}, which has "
                f"{num_outputs} x {num_inputs}; set method.r to {most} or less, or leave that layer out of "
                f"method.target_modules"
            )


def _random_mask(layer: nn.Linear, r: int, **_: Any) -> torch.Tensor:
    """bool [outputs, inputs] with r (inputs + outputs) true ones, drawn by torch's generator on the CPU."""
    mask = torch.zeros(layer.weight.numel(), dtype=torch.bool)
    mask[torch.randperm(len(mask))[: r * (layer.in_features + layer.out_features)]] = True
    return mask.view(layer.weight.shape)
