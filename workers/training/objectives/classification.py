"""Sequence classification: cross-entropy of a row's label, each row by the weight of its class.

The loss of a step is the mean by weights, as torch's own with `weight`: sum of w nll / sum of w.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from luthier.spec import ClassificationSpec
from workers.failures import DataError
from workers.training.heads import document_scores
from workers.training.objectives.base import Measured, Passes
from workers.training.packing import Batch
from workers.training.samples import Sample


class Classification:
    """An `Objective` over rows with a label. The model has a head with one score for each of `labels_of`."""

    def __init__(self, spec: ClassificationSpec) -> None:
        self._spec = spec
        self._index: dict[str, int] = {}
        self._weights: list[float] = []

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`. Besides, a label of the validation that no training row has is refused."""
        labels = labels_of(self._spec, train)
        _refuse_unknown(labels, validation, "validation")
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


def labels_of(spec: ClassificationSpec, train: Sequence[Sample]) -> list[str]:
    """The classes in the order of the scores.

    Raises:
        DataError: rows without a label, with one that the job file does not name, or all with the same.
    """
    if any(sample.label is None for sample in train):
        raise DataError("rows have no label, which objective.type classification learns; give rows with text and label")
    found = sorted({str(sample.label) for sample in train})
    labels = spec.labels or found
    _refuse_unknown(labels, train, "training")
    if len(found) < 2:
        raise DataError(f"every training row has the label {found[0]!r}; there is nothing to tell apart")
    return labels


def _refuse_unknown(labels: Sequence[str], samples: Sequence[Sample], split: str) -> None:
    unknown = sorted({str(sample.label) for sample in samples} - set(labels))
    if unknown:
        raise DataError(
            f"the {split} split has the label {unknown[0]!r}, which is none of {', '.join(labels)}; mend those rows, "
            "or give training rows with this label and name it in objective.labels"
        )


def _class_weights(spec: ClassificationSpec, labels: Sequence[str], train: Sequence[Sample]) -> list[float]:
    """By class. Balanced: number of rows / (number of classes x rows of the class); 1 for a class without any."""
    if spec.class_weights == "balanced":
        counts = Counter(sample.label for sample in train)
        present = sum(label in counts for label in labels)
        return [len(train) / (present * counts[label]) if label in counts else 1.0 for label in labels]
    chosen = spec.class_weights or {}
    unknown = [label for label in chosen if label not in labels]
    if unknown:
        raise DataError(f"objective.class_weights names {unknown[0]!r}, which no row has; leave it out")
    return [chosen.get(label, 1.0) for label in labels]
