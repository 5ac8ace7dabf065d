"""Keeps what a run has reached: takes snapshots of it, takes it up from one, and brings the best weights back."""

import logging
from collections.abc import Mapping

import torch

from luthier.artifacts import ArtifactError
from workers.training.checkpoints import CheckpointStore
from workers.training.environment import current_environment
from workers.training.learner import Learner
from workers.training.pieces import Stored, wholes
from workers.training.rng import load_rng_tensors
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot
from workers.training.state import Progress
from workers.training.step import Stepper

_log = logging.getLogger(__name__)


class Keeper:
    """State of a run on its way to checkpoints and back. All ranks call every method at the same place."""

    def __init__(self, learner: Learner, stepper: Stepper, checkpoints: CheckpointStore) -> None:
        self._learner = learner
        self._stepper = stepper
        self._checkpoints = checkpoints
        self._environment = current_environment(learner.compute, learner.device, learner.world.size)
        self.saved_step = 0
        """Steps of the newest snapshot, or those with which the run began."""

    def save(self, progress: Progress, position: Position, rng: Mapping[str, torch.Tensor]) -> float:
        """Begins to commit the run as it is; the seconds for which it was held up.

        Args:
            progress: what was reached.
            position: in the data, of the next step.
            rng: the state of the random generators to go on with.

        Raises:
            OSError, SafetensorError: the commit before failed.
        """
        learner = self._learner
        snapshot = Snapshot(
            progress=progress,
            weights=wholes(self._stepper.average.raw_weights()) or learner.strategy.weights(),
            optimizer=learner.strategy.optimizer_tensors(),
            rng=learner.world.gather_states(rng),
            environment=self._environment,
            control=learner.control.tensors(),
            step=self._stepper.tensors(),
            is_divided=learner.strategy.is_divided,
            is_copied=learner.strategy.hands_out_copies,
            is_written_in_place=learner.strategy.is_written_in_place,
        )
        self.saved_step = progress.step
        return self._checkpoints.save(snapshot, position)

    def resume(self, snapshot: Snapshot[Stored]) -> Progress:
        """Makes weights, optimizer, method and random generators what they were; what had been reached.

        Warns where the numbers will not be the same to the last bit. A rank that the run did not have so far draws its
        random numbers from a seed of its own.
        """
        learner = self._learner
        learner.strategy.load_weights(snapshot.weights)
        learner.strategy.load_optimizer_tensors(snapshot.optimizer)
        learner.control.load_tensors(snapshot.control)
        self._stepper.load_tensors(snapshot.step)
        if states := learner.world.own_states(snapshot.rng):
            load_rng_tensors(states, learner.device)
        if differences := self._environment.differences(snapshot.environment):
            _log.warning(
                "the run goes on from step %d with %s: its numbers may differ in the last digits from those of a run "
                "that was not interrupted",
                snapshot.progress.step,
                ", ".join(differences),
            )
        self.saved_step = snapshot.progress.step
        return snapshot.progress

    def restore_best(self, progress: Progress) -> None:
        """After the last step: the model is what it was at the best validation, or what it is if that is lost."""
        best = progress.best
        if best is not None and best.step != progress.step:
            try:
                snapshot = self._checkpoints.load(best.checkpoint_uri)
                self._learner.strategy.load_weights(snapshot.weights)
                self._learner.control.load_tensors(snapshot.control)
                self._stepper.load_average(snapshot.step)
            except ArtifactError as error:
                _log.error("the best weights, of step %d, are lost; the last ones are taken: %s", best.step, error)
                progress.best = None
        self._stepper.average.keep()
