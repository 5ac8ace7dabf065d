"""Multi-label classification: binary cross-entropy of each class of a row, by the class's own score.

With scores z and y = 1 where the row has the class, else 0, the loss of a row of C classes is

    1 / C sum over c of  - w_c y_c log sigmoid(z_c) - (1 - y_c) log(1 - sigmoid(z_c))

and that of a step its mean over the rows, each of which counts 1: together the mean over all pairs of row and class of
torch's `BCEWithLogitsLoss(pos_weight=w)`, however rows are packed and shared. w is `class_weights`.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from luthier.spec import ClassificationSpec
from workers.training.classes import Classes
from workers.training.heads import document_scores
from workers.training.objectives.base import Measured, Passes
from workers.training.objectives.labels import chosen_weights, classes_of, labels_on, refuse_unknown
from workers.training.packing import Batch
from workers.training.samples import Sample
from workers.training.transfer import send


class MultiLabel:
    """An `Objective` over rows with any number of labels. The model has a head with one score for each class."""

    def __init__(self, spec: ClassificationSpec) -> None:
        self._spec = spec
        self._classes = Classes(())
        self._index: dict[str, int] = {}
        self._weights: list[float] = []

    def check(self, train: Sequence[Sample], validation: Sequence[Sample]) -> None:
        """See `Objective`. Besides, a label of the validation that no training row has is refused."""
        self._classes = classes_of(self._spec, train)
        refuse_unknown(self._classes.labels, validation, "validation")
        self._index = {label: index for index, label in enumerate(self._classes.labels)}
        self._weights = _positive_weights(self._spec, self._classes.labels, train)

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Nothing to do."""

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """1; a row counts the same whatever it has."""
        return 1.0

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """The loss above in nats, summed over rows, and how many rows get all of their labels and no others."""
        scores = document_scores(model, batch, compute)
        has = send(self._table(batch.samples), scores.device)
        weights = send(torch.tensor(self._weights), scores.device)
        pairs = binary_cross_entropy_with_logits(scores, has.to(scores.dtype), pos_weight=weights, reduction="none")
        losses = pairs.mean(1)
        right = (self._classes.pick(scores.detach()) == has).all(1).to(scores.dtype)
        return Measured(losses.sum(), {"accuracy": right.sum()}, losses.detach())

    def _table(self, samples: Sequence[Sample]) -> torch.Tensor:
        """bool [samples, classes]: what each has."""
        places = [(row, self._index[label]) for row, sample in enumerate(samples) for label in labels_on(sample)]
        rows, columns = torch.tensor(places, dtype=torch.int64).view(-1, 2).T
        table = torch.zeros(len(samples), len(self._index), dtype=torch.bool)
        table[rows, columns] = True
        return table


def _positive_weights(spec: ClassificationSpec, labels: Sequence[str], train: Sequence[Sample]) -> list[float]:
    """By class. Balanced: rows without the class / rows with it; 1 where there are none of either."""
    if spec.class_weights != "balanced":
        return chosen_weights(spec, labels)
    counts = Counter(label for sample in train for label in labels_on(sample))
    return [(len(train) - counts[label]) / counts[label] if 0 < counts[label] < len(train) else 1.0 for label in labels]
