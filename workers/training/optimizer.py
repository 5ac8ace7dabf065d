"""AdamW over the trained weights, and its state as named tensors."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from luthier.spec import TrainingSpec


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], spec: TrainingSpec, rate_ratios: Mapping[str, float] = MappingProxyType({})
) -> torch.optim.AdamW:
    """AdamW with decay on matrices only: a bias or a norm's scale that decays to zero switches something off.

    Each group has a `rate_ratio`, by which whoever sets its learning rate multiplies it; `rate_ratios` are the ones
    that are not 1, by parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = spec.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((decay, rate_ratios.get(name, 1.0)), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": members, "weight_decay": decay, "rate_ratio": ratio} for (decay, ratio), members in groups.items()],
        lr=spec.learning_rate,
        betas=(spec.adam_beta1, spec.adam_beta2),
        eps=spec.adam_epsilon,
        fused=True,
    )


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """The optimizer's state as `<parameter name>/<state name>`; nothing before the first step."""
    return {
        f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, torch.Tensor]
) -> None:
    """The inverse of `optimizer_tensors`. The tensors are copied: they may be pages of a checkpoint's file."""
    for name, tensor in tensors.items():
        parameter_name, key = name.rsplit("/", 1)
        parameter = parameters[parameter_name]
        optimizer.state[parameter][key] = tensor.to(parameter.device, copy=True)
