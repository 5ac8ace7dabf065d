"""Sequence classification: cross-entropy of a row's label, each row by the weight of its class.

The loss of a step is the mean by weights, as torch's own with `weight`: sum of w nll / sum of w.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from luthier.spec import ClassificationSpec
from workers.training.heads import document_scores
from workers.training.objectives.base import Measured, Objective, Passes
from workers.training.objectives.labels import chosen_weights, classes_of, refuse_unknown
from workers.training.objectives.multi_label import MultiLabel
from workers.training.packing import Batch
from workers.training.samples import Sample


def make_classification(spec: ClassificationSpec) -> Objective:
    """The objective of the section."""
    return MultiLabel(spec) if spec.multi_label else Classification(spec)


class Classification:
    """An `Objective` over rows with a label. The model has a head with one score for each class."""

    def __init__(self, spec: ClassificationSpec) -> None:
        self._spec = spec
        self._index: dict[str, int] = {}
        self._weights: list[float] = []

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`. Besides, a label of the validation that no training row has is refused."""
        labels = classes_of(self._spec, train).labels
        refuse_unknown(labels, validation, "validation")
        self._index = {label: index for index, label in enumerate(labels)}
        self._weights = _class_weights(self._spec, labels, train)

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Nothing to do."""

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """The weight of its class."""
        return self._weights[self._class_of(sample)]

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """Weighted cross-entropy in nats, summed, and how much of the weight is classified rightly."""
        scores = document_scores(model, batch, compute)
        classes = torch.tensor([self._class_of(sample) for sample in batch.samples], device=scores.device)
        weights = torch.tensor(self._weights, device=scores.device)
        losses = functional.cross_entropy(scores, classes, weight=weights, reduction="none")
        right = weights[classes] @ (scores.argmax(1) == classes).to(weights.dtype)
        return Measured(losses.sum(), {"accuracy": right}, losses.detach())

    def _class_of(self, sample: Sample) -> int:
        assert sample.label is not None, "check() has looked at it"
        return self._index[sample.label]


def _class_weights(spec: ClassificationSpec, labels: Sequence[str], train: Sequence[Sample]) -> list[float]:
    """By class. Balanced: number of rows / (number of classes x rows of the class); 1 for a class without any."""
    if spec.class_weights == "balanced":
        counts = Counter(sample.label for sample in train)
        present = sum(label in counts for label in labels)
        return [len(train) / (present * counts[label]) if label in counts else 1.0 for label in labels]
    return chosen_weights(spec, labels)
