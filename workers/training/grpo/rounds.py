"""Which prompts a step asks: known beforehand for the whole run, so that a later attempt goes on where one left off.

A round asks some prompts once and trains on the answers for `objective.num_iterations` optimizer steps.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from luthier.spec import GrpoSpec, TrainingSpec
from workers.training.sampler import Position


@dataclass(frozen=True)
class Rounds:
    """The rounds of a run."""

    prompts_per_round: int
    steps_per_round: int
    num_rows: int
    num_steps: int
    """Optimizer steps of the run: whole rounds."""
    is_shuffled: bool
    seed: int

    @classmethod
    def of(cls, objective: GrpoSpec, training: TrainingSpec, num_rows: int) -> "Rounds":
        """As the job file says, for a training split of `num_rows`. Every prompt is asked once per epoch, but that the
        last round is whole."""
        answers = training.per_device_train_batch_size * training.gradient_accumulation_steps
        prompts, steps = answers // objective.num_generations, objective.num_iterations
        if training.max_steps is not None:
            num_rounds = math.ceil(training.max_steps / steps)
        else:
            num_rounds = max(1, math.ceil(training.num_train_epochs * num_rows / prompts))
        return cls(prompts, steps, num_rows, num_rounds * steps, training.order == "shuffled", training.seed)

    def rows(self, first_step: int) -> list[int]:
        """Rows of the prompts of all rounds from that of `first_step` on, which begins a round, in their order."""
        assert first_step % self.steps_per_round == 0, "the answers of a round are not kept"
        return self._order[first_step // self.steps_per_round * self.prompts_per_round :]

    def asked(self, step: int) -> list[int]:
        """Rows of the prompts of optimizer step `step` (from 0)."""
        first = step // self.steps_per_round * self.prompts_per_round
        return self._order[first : first + self.prompts_per_round]

    def digest(self, step: int) -> str:
        """Of `asked`."""
        return hashlib.sha256(repr(self.asked(step)).encode()).hexdigest()[:16]

    def position(self, step: int) -> Position:
        """Where a run that has done `step` optimizer steps, whole rounds, is in the training split."""
        epoch, row = divmod(step // self.steps_per_round * self.prompts_per_round, self.num_rows)
        return Position(epoch, row)

    @cached_property
    def _order(self) -> list[int]:
        total = self.num_steps // self.steps_per_round * self.prompts_per_round
        epochs = [self._epoch(epoch) for epoch in range(math.ceil(total / self.num_rows))]
        return [int(row) for row in np.concatenate(epochs)[:total]]

    def _epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        if not self.is_shuffled:
            return np.arange(self.num_rows)
        return np.random.default_rng([self.seed, epoch]).permutation(self.num_rows)


def micro_batch(training: TrainingSpec, refit: int) -> tuple[int, int]:
    """Answers in a forward pass, and passes in an optimizer step, after `refit` halvings: their product stays."""
    answers = training.per_device_train_batch_size * training.gradient_accumulation_steps
    most = max(1, training.per_device_train_batch_size >> refit)
    micro = max(size for size in range(1, most + 1) if answers % size == 0)
    return micro, answers // micro


def step_seed(seed: int, step: int) -> int:
    """Of everything random in optimizer step `step` (from 0): so a checkpoint needs no state of generators."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:4])
