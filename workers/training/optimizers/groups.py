"""What is trained, in groups that share weight decay and learning rate."""

from collections.abc import Mapping
from typing import Any

from torch import nn

# Parameters that multiply activations although they have two dimensions (IA3).
_SCALES = ("ia3_l",)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], weight_decay: float, rate_ratios: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Groups for an optimizer.

    Each has `weight_decay`, and a `rate_ratio` by which whoever sets its learning rate multiplies it; `rate_ratios`
    are the ones that are not 1, by parameter.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = weight_decay if _decays(name, parameter) else 0.0
        groups.setdefault((decay, rate_ratios.get(name, 1.0)), []).append(parameter)
    return [
        {"params": members, "weight_decay": decay, "rate_ratio": ratio} for (decay, ratio), members in groups.items()
    ]


def _decays(name: str, parameter: nn.Parameter) -> bool:
    """As transformers' Trainer has it: every matrix, embeddings too, and no bias or scale of a norm.

    Nor other scales, such as those of DoRA and IA3: one that decays to zero switches a neuron off.
    """
    return parameter.ndim >= 2 and not any(scale in name for scale in _SCALES)
