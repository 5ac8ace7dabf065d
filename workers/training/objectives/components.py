"""How each source of a mixture fares: the mean loss over its samples alone, beside that over all.

The objective stays what it is, and so does the loss that is minimised. The loop divides every figure by the weight of
all samples of a step; so the share of a source is scaled up beforehand by what of that weight is its own.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from workers.training.objectives.base import Measured, Objective, Passes
from workers.training.packing import Batch
from workers.training.samples import Sample
from workers.training.transfer import send


class ByComponent:
    """An `Objective` that has the figure `loss/NAME` for every source with samples in a step."""

    def __init__(self, objective: Objective) -> None:
        """`objective` is what is minimised; it tells the losses of its samples."""
        self._objective = objective
        self._scales: dict[str, float] = {}

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`."""
        self._objective.check(train, validation)

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """See `Objective`."""
        self._objective.prepare(model, samples, passes, compute)

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """See `Objective`; besides, what of the weight is each source's."""
        weights: defaultdict[str, float] = defaultdict(float)
        for sample in samples:
            weights[sample.component] += self._objective.weigh(sample)
        total = sum(weights.values())
        self._scales = {name: total / weight for name, weight in weights.items() if weight}
        self._objective.begin(model, samples, compute)

    def weigh(self, sample: Sample) -> float:
        """See `Objective`."""
        return self._objective.weigh(sample)

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """See `Objective`."""
        measured = self._objective.measure(model, batch, compute)
        assert measured.losses is not None, "every objective tells the losses of samples from a named source"
        names = [sample.component for sample in batch.samples]
        present = list(dict.fromkeys(names))
        share = [[self._scales.get(one, 0.0) * (one == name) for name in present] for one in names]
        sums = measured.losses.double() @ send(torch.tensor(share, dtype=torch.float64), measured.losses.device)
        figures = {f"loss/{name}": value for name, value in zip(present, sums, strict=True)}
        return replace(measured, figures={**measured.figures, **figures})
