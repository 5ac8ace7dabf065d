"""What methods share: the base model as each of them gets it, and what one may do beside the optimizer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from transformers import PreTrainedModel

from workers.models import load_model
from workers.models.unread import load_unread
from workers.training.attention import register


class Control(Protocol):
    """What a method does beside the optimizer."""

    @property
    def rate_ratios(self) -> Mapping[str, float]:
        """Learning rate of a parameter, by name, as a multiple of the schedule's. 1 where it is not named."""
        ...

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Once, before the first step: what moves the weights, whose state a method may have to move with them."""
        ...

    def before_step(self, step: int) -> None:
        """Before optimizer step `step` (from 0): adds to the gradients, which are whole and not clipped yet."""
        ...

    def after_step(self, step: int) -> None:
        """After optimizer step `step` (from 0), while the gradients are still there."""
        ...

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Its state, for a checkpoint."""
        ...

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Goes on from such a state, of the same job; also from an earlier one, when the best weights come back."""
        ...

    def finish(self) -> None:
        """After training, with the best weights in the model."""
        ...


class NoControl:
    """A `Control` of methods that leave everything to the optimizer."""

    def __init__(self, rate_ratios: Mapping[str, float] | None = None) -> None:
        """`rate_ratios` are those of `Control`."""
        self.rate_ratios = rate_ratios or {}

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Nothing."""

    def before_step(self, step: int) -> None:
        """Nothing."""

    def after_step(self, step: int) -> None:
        """Nothing."""

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """None."""
        return {}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes none."""
        assert not tensors, "the checkpoint is of another method"

    def finish(self) -> None:
        """Nothing."""


def load_base(folder: Path, dtype: torch.dtype, device: torch.device, _: object = None) -> PreTrainedModel:
    """The model in `folder` with weights in `dtype`, with the `luthier_documents` attention."""
    model = load_model(folder, dtype)
    model.to(device)  # type: ignore[arg-type]  # the wrapper of transformers hides the signature
    model.set_attn_implementation(register())
    return model


def load_base_unread(folder: Path, dtype: torch.dtype, device: torch.device, _: object = None) -> PreTrainedModel:
    """The same, whose weights are still in their files."""
    model = load_unread(folder, dtype, device)
    model.set_attn_implementation(register())
    return model
