"""The border between the loop and the way in which the ranks share gradients, weights and optimizer state."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from workers.training.pieces import Piece, Stored


class Strategy(Protocol):
    """One layout. All ranks call every method at the same place of the program."""

    @property
    def takes_every_round(self) -> bool:
        """Whether a rank must compute in every round of forward passes, although it has nothing to learn from."""
        ...

    @property
    def is_divided(self) -> bool:
        """Whether each rank has a part of trained weights and optimizer state; else rank 0 has all of it."""
        ...

    @property
    def is_written_in_place(self) -> bool:
        """Whether checkpoints are written from where trained weights and optimizer state are, which is the host's
        memory, while the run waits."""
        ...

    @property
    def hands_out_copies(self) -> bool:
        """Whether `weights` and `optimizer_tensors` are copies in the host's memory, which later steps leave alone."""
        ...

    @property
    def reads_weights(self) -> bool:
        """Whether it reads frozen and trained weights of the base model itself, each rank its part, where the model
        comes without them (workers/models/unread.py)."""
        ...

    def loads_on(self, device: torch.device) -> torch.device:
        """Where the model is loaded and adapted, on a rank that computes on `device`."""
        ...

    def divide(self, model: nn.Module, compute: torch.dtype) -> torch.device:
        """Once, before anybody looks at the parameters of `model`, which may become parts of themselves.

        Args:
            model: the same on every rank, but for trained weights, which become those of rank 0. With `reads_weights`
                some are still in their files.
            compute: dtype of the matrix products.

        Returns:
            Where it computes: batches go there.

        Raises:
            ConfigError: this model, or this machine, cannot.
        """
        ...

    def attach(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float,
    ) -> None:
        """Once, before the first forward pass.

        Args:
            model: as `divide` left it.
            parameters: those of `model` that are trained, by name.
            optimizer: over `parameters`.
            max_grad_norm: L2 norm that gradients are clipped to.
        """
        ...

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """Adds the gradients of this rank's part of the loss; `is_last`: none follow in this step."""
        ...

    def sum_gradients(self) -> None:
        """After the last backward pass: gradients become those of all ranks together."""
        ...

    def clip(self) -> float:
        """Clips them; the L2 norm that they had, the same on every rank."""
        ...

    def step(self) -> None:
        """One step of the optimizer."""
        ...

    def forget(self, *, was_applied: bool) -> None:
        """Drops the gradients; without `was_applied` the step is not taken."""
        ...

    def fingerprint(self) -> dict[str, float]:
        """One number per parameter that any real update changes."""
        ...

    def weights(self) -> Mapping[str, Piece]:
        """What this rank has of the trained weights, by name, fp32; each element is on one rank alone."""
        ...

    def optimizer_tensors(self) -> Mapping[str, Piece]:
        """The same of the optimizer's state, as `<parameter name>/<state name>`."""
        ...

    def load_weights(self, weights: Mapping[str, Stored]) -> None:
        """Takes over this rank's part of what all ranks of any strategy had.

        Raises:
            ConfigError: they are of another job.
        """
        ...

    def load_optimizer_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """The same of the optimizer's state."""
        ...

    def finish(self) -> None:
        """After the last forward pass: the parameters of the model are whole again, on rank 0 at least."""
        ...
