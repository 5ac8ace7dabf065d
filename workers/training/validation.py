"""The model on samples that it does not learn from: the same objective, in a fixed order, shared among the ranks."""

import math
from collections.abc import Callable

import torch

from workers.training.guards import fits_into_memory
from workers.training.learner import Learner
from workers.training.packing import Batch, FixedBatches
from workers.training.sums import Sums


class Validation:
    """The validation samples of a run, in batches as large as those of training."""

    def __init__(self, learner: Learner, batches: FixedBatches, idle: Batch) -> None:
        """`batches` are those of all ranks, without samples that weigh nothing; `idle` is that of `Stepper`."""
        self._model = learner.model
        self._objective = learner.objective
        self._compute = learner.compute
        self._strategy = learner.strategy
        self._world = learner.world
        self._idle = idle
        self._samples = batches.samples
        self._batches = batches
        self._num_rounds = math.ceil(len(batches) / self._world.size)

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._samples)

    def measure(self, before_each: Callable[[], None]) -> dict[str, float]:
        """`validation_loss` and the objective's other figures, means over the samples by their weights; on every rank.

        The model is in training mode before and after. `before_each` is called before every forward pass.

        Raises:
            StageError: OUT_OF_MEMORY; not even one sample at a time fits.
        """
        self._model.eval()
        self._objective.begin(self._model, self._samples, self._compute)
        sums = Sums()
        for number in range(self._num_rounds):
            batch = self._batch(number)
            before_each()
            if batch is None and not self._strategy.takes_every_round:
                continue
            with torch.no_grad(), fits_into_memory(batch or self._idle):
                measured = self._objective.measure(self._model, batch or self._idle, self._compute)
            if batch is not None:
                sums.add({"loss": measured.loss, **measured.figures})
        self._model.train()
        weight = sum(self._objective.weigh(sample) for sample in self._samples)
        return {f"validation_{name}": total / weight for name, total in self._world.sum_figures(sums.read()).items()}

    def _batch(self, number: int) -> Batch | None:
        """This rank's batch in a round; None where it has none left."""
        place = number * self._world.size + self._world.rank
        return self._batches[place] if place < len(self._batches) else None
