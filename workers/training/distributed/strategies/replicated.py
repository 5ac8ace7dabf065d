"""`ddp`: every rank has all weights and optimizer state, and gets the sum of the gradients. So it is with one rank."""

from collections.abc import Mapping

import torch
from torch import nn

from workers.failures import ConfigError
from workers.training.distributed.world import World
from workers.training.guards import fingerprint
from workers.training.optimizers import load_optimizer_tensors, optimizer_tensors
from workers.training.pieces import Piece, Stored, wholes


class Replicated:
    """A `Strategy`."""

    takes_every_round = False
    is_divided = False
    is_written_in_place = False
    hands_out_copies = False
    reads_weights = False

    def __init__(self, world: World, _: object = None) -> None:
        """The section has nothing to set."""
        self._world = world

    def loads_on(self, device: torch.device) -> torch.device:
        """Where it is trained."""
        return device

    def divide(self, model: nn.Module, compute: torch.dtype) -> torch.device:
        """Nothing is divided."""
        self._world.share(parameter for parameter in model.parameters() if parameter.requires_grad)
        return next(model.parameters()).device

    def attach(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float,
    ) -> None:
        """See `Strategy`."""
        self._parameters = parameters
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """Into the `grad` of the parameters."""
        loss.backward()  # type: ignore[no-untyped-call]

    def sum_gradients(self) -> None:
        """Once per step, not once per backward pass."""
        self._world.sum_gradients(self._parameters.values())

    def clip(self) -> float:
        """See `Strategy`."""
        return float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._max_grad_norm))

    def step(self) -> None:
        """Each rank does all of it: equal gradients give equal weights."""
        self._optimizer.step()

    def forget(self, *, was_applied: bool) -> None:
        """See `Strategy`."""
        self._optimizer.zero_grad(set_to_none=True)

    def fingerprint(self) -> dict[str, float]:
        """See `Strategy`."""
        return fingerprint(self._parameters)

    def weights(self) -> Mapping[str, Piece]:
        """The parameters themselves."""
        return wholes(self._parameters)

    def optimizer_tensors(self) -> Mapping[str, Piece]:
        """The state itself."""
        return wholes(optimizer_tensors(self._optimizer, self._parameters))

    def load_weights(self, weights: Mapping[str, Stored]) -> None:
        """See `Strategy`."""
        check_names(weights, self._parameters)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(weights[name].whole())

    def load_optimizer_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """One after the other, so that no second copy of all of it is needed."""
        for name, stored in tensors.items():
            load_optimizer_tensors(self._optimizer, self._parameters, {name: stored.whole()})

    def finish(self) -> None:
        """They are whole."""


def check_names(weights: Mapping[str, Stored], parameters: Mapping[str, nn.Parameter]) -> None:
    """That a checkpoint has the weights that are trained, all of them and no others, in their shapes.

    Raises:
        ConfigError: it has not.
    """
    odd = sorted(weights.keys() ^ parameters.keys())
    # DeepSpeed leaves nothing of a weight that it divides but its shape.
    shapes = {name: tuple(getattr(parameter, "ds_shape", parameter.shape)) for name, parameter in parameters.items()}
    others = [name for name, shape in shapes.items() if not odd and weights[name].shape != shape]
    reason = f"{len(odd)} trained weights are in one of them alone, such as {odd[0]}" if odd else ""
    if others:
        reason = f"{others[0]} is {list(weights[others[0]].shape)} there and {list(shapes[others[0]])} here"
    if reason:
        raise ConfigError(
            f"the checkpoint that this run would go on from is of another job: {reason}; method and base_model must be "
            f"those that it began with, so submit a new job"
        )
