"""The samples of a run as forward passes: what an optimizer step learns from, and which part of it this rank does."""

from collections.abc import Sequence

import torch

from luthier.spec import TrainingSpec
from luthier.spec.training import BY_DIFFICULTY
from workers.failures import ConfigError
from workers.training.beginnings import shared_prefix
from workers.training.distributed.deal import deal
from workers.training.distributed.world import World
from workers.training.objectives import Objective
from workers.training.packing import Batch, FixedBatches, batch_of, own_lengths
from workers.training.rows import difficulties_of
from workers.training.sampler import Position, Sampler
from workers.training.samples import Picked, Sample, documents_of
from workers.training.state import Progress


class Batches:
    """Training samples, packed. What all of them begin with is computed once per pass."""

    def __init__(
        self,
        train: Sequence[Sample],
        objective: Objective,
        spec: TrainingSpec,
        device: torch.device,
        *,
        world: World,
        refit: int,
    ) -> None:
        """
        Args:
            train: at least one sample; each fits into a pack.
            objective: says which of them count.
            spec: the job's `training` section.
            device: where batches go.
            world: the ranks that share each step among them.
            refit: how often a forward pass is halved; the samples of an optimizer step stay the same.
        """
        self._train = train
        self._spec = spec
        self._device = device
        self._world = world
        self._refit = refit
        self._prefix_length = shared_prefix(documents_of(train))
        self._lengths = own_lengths(train, self._prefix_length)
        difficulties = difficulties_of(train) if spec.order in BY_DIFFICULTY else None
        self._sampler = Sampler(self._lengths, spec.pack_length - self._prefix_length, spec, difficulties)
        self._shortest = min(
            range(len(train)), key=lambda place: (not objective.weigh(train[place]), train[place].longest)
        )
        self.idle = batch_of([train[self._shortest]]).to(device)
        """What a rank computes, for nothing, in a round in which it has no batch and may not rest."""

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self._sampler.num_steps

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in which every sample is learned from once."""
        return self._sampler.steps_per_epoch

    def position(self, step: int) -> Position:
        """Where optimizer step `step` (from 0) starts in the data."""
        return self._sampler.position(step)

    def digest(self, step: int) -> str:
        """Stands for the samples of optimizer step `step`, in their order."""
        return self._sampler.digest(step)

    def check_goes_on(self, progress: Progress) -> None:
        """That what a run has learned from so far is what it would have learned from here.

        Raises:
            ConfigError: it was other rows, or another order, or more steps than there are.
        """
        step = progress.step
        if step == 0 or (step <= self.num_steps and self.digest(step - 1) == progress.samples[-1]):
            return
        raise ConfigError(
            f"the checkpoint that this run would go on from is of another job: the rows of its step {step} are not "
            f"those that step {step} of {self.num_steps} has here; data and training must be those that it began with, "
            f"so submit a new job"
        )

    def samples(self, step: int) -> list[Sample]:
        """What optimizer step `step` learns from, on all ranks together."""
        return [self._train[index] for batch in self._sampler.micro_batches(step) for index in batch]

    def visited(self) -> Sequence[Sample]:
        """Every sample that this run computes with, once."""
        places = self._sampler.visited()
        return Picked(self._train, places if self._shortest in places else [*places, self._shortest])

    def rounds(self, step: int) -> list[Batch | None]:
        """This rank's batch in each round of forward passes of `step`; None where it has none left."""
        hand = deal(
            self._sampler.micro_batches(step),
            self._lengths,
            self._prefix_length,
            refit=self._refit,
            rank=self._world.rank,
            num_ranks=self._world.size,
        )
        batches = [batch_of([self._train[index] for index in samples], self._prefix_length) for samples in hand.passes]
        return [*(batch.to(self._device) for batch in batches), *[None] * (hand.num_rounds - len(batches))]

    def passes(self, samples: Sequence[Sample]) -> FixedBatches:
        """`samples` in batches for passes without learning, as large as those of training."""
        return FixedBatches(samples, self._spec, self._device, self._refit)
