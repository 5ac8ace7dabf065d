"""What turns gradients into updates, by the name that the job file uses, and its state as named tensors.

A new optimizer is one row here and one name in `luthier/spec/training.py`. Its state must be tensors and whole numbers,
or a checkpoint would not hold it. Trained weights are fp32, whatever the products are computed in.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from luthier.spec import TrainingSpec
from workers.training.optimizers.eight_bit import make_8bit, make_paged_8bit
from workers.training.optimizers.groups import parameter_groups, trainable_parameters
from workers.training.optimizers.lamb import Lamb
from workers.training.optimizers.state import load_optimizer_tensors, optimizer_tensors

Groups = list[dict[str, Any]]


def _adamw(groups: Groups, spec: TrainingSpec, _: torch.device) -> torch.optim.Optimizer:
    betas = (spec.adam_beta1, spec.adam_beta2)
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=betas, eps=spec.adam_epsilon, fused=True)


def _sgd(groups: Groups, spec: TrainingSpec, _: torch.device) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.sgd_momentum, fused=True)


def _lamb(groups: Groups, spec: TrainingSpec, _: torch.device) -> torch.optim.Optimizer:
    return Lamb(groups, lr=spec.learning_rate, betas=(spec.adam_beta1, spec.adam_beta2), eps=spec.adam_epsilon)


def _adafactor(groups: Groups, spec: TrainingSpec, _: torch.device) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(groups, lr=spec.learning_rate)


OPTIMIZERS: dict[str, Callable[[Groups, TrainingSpec, torch.device], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "sgd": _sgd,
    "lamb": _lamb,
    "adafactor": _adafactor,
    "adamw_8bit": make_8bit,
    "paged_adamw_8bit": make_paged_8bit,
}


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], spec: TrainingSpec, rate_ratios: Mapping[str, float] = MappingProxyType({})
) -> torch.optim.Optimizer:
    """The optimizer that the job file names, over `parameters`; `rate_ratios` as in `parameter_groups`.

    Raises:
        ConfigError: the device of the parameters cannot run it.
    """
    device = next(iter(parameters.values())).device
    return OPTIMIZERS[spec.optim](parameter_groups(parameters, spec.weight_decay, rate_ratios), spec, device)


__all__ = [
    "OPTIMIZERS",
    "load_optimizer_tensors",
    "make_optimizer",
    "optimizer_tensors",
    "trainable_parameters",
]
