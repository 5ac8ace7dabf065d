"""Takes a run up where a snapshot left it, and says when the numbers will not be the same to the last bit."""

import logging
from collections.abc import Mapping

import torch
from torch import nn

from workers.training.distributed.world import World
from workers.training.environment import Environment
from workers.training.methods.base import Control
from workers.training.optimizers import load_optimizer_tensors
from workers.training.rng import load_rng_tensors
from workers.training.snapshot import Snapshot

_log = logging.getLogger(__name__)


def restore(
    snapshot: Snapshot,
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    control: Control,
    environment: Environment,
    world: World,
) -> None:
    """Makes weights, optimizer, method and random generators what they were; warns if `environment` is another one.

    A rank that the run did not have so far draws its random numbers from a seed of its own.
    """
    load_weights(snapshot, parameters)
    load_optimizer_tensors(optimizer, parameters, snapshot.optimizer)
    control.load_tensors(snapshot.control)
    if states := world.own_states(snapshot.rng):
        load_rng_tensors(states, next(iter(parameters.values())).device)
    if differences := environment.differences(snapshot.environment):
        _log.warning(
            "the run goes on from step %d with %s: its numbers may differ in the last digits from those of a run "
            "that was not interrupted",
            snapshot.progress.step,
            ", ".join(differences),
        )


def load_weights(snapshot: Snapshot, parameters: Mapping[str, nn.Parameter]) -> None:
    """Copies the snapshot's weights into the model's parameters."""
    assert snapshot.weights.keys() == parameters.keys(), "the checkpoint is of another model"
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(snapshot.weights[name])
