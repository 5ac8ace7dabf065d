"""Takes a run up where a snapshot left it, and says when the numbers will not be the same to the last bit."""

import logging

import torch

from workers.training.distributed.strategies.base import Strategy
from workers.training.distributed.world import World
from workers.training.environment import Environment
from workers.training.methods.base import Control
from workers.training.rng import load_rng_tensors
from workers.training.snapshot import Snapshot

_log = logging.getLogger(__name__)


def restore(
    snapshot: Snapshot,
    strategy: Strategy,
    control: Control,
    environment: Environment,
    world: World,
    device: torch.device,
) -> None:
    """Makes weights, optimizer, method and random generators what they were; warns if `environment` is another one.

    A rank that the run did not have so far draws its random numbers from a seed of its own.
    """
    strategy.load_weights(snapshot.weights)
    strategy.load_optimizer_tensors(snapshot.optimizer)
    control.load_tensors(snapshot.control)
    if states := world.own_states(snapshot.rng):
        load_rng_tensors(states, device)
    if differences := environment.differences(snapshot.environment):
        _log.warning(
            "the run goes on from step %d with %s: its numbers may differ in the last digits from those of a run "
            "that was not interrupted",
            snapshot.progress.step,
            ", ".join(differences),
        )
