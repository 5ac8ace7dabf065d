"""Which classes a classifier tells apart: those that the job file lists, or those of the training split.

Whether a row has exactly one (`Sample.label`) or any number (`Sample.labels`) is the job file's say.
"""

from collections.abc import Sequence

from luthier.spec import ClassificationSpec
from workers.failures import DataError
from workers.training.classes import Classes
from workers.training.samples import Sample


def classes_of(spec: ClassificationSpec, train: Sequence[Sample]) -> Classes:
    """The classes in the order of the scores.

    Raises:
        DataError: rows that do not say what they have, or a label that the job file does not name, or all the same.
    """
    _refuse_unlabelled(spec, train)
    found = _all_labels(train)
    labels = spec.labels or found
    refuse_unknown(labels, train, "training")
    if all(len(labels_on(sample)) == len(found) for sample in train):
        raise DataError(f"every training row has {_told(found)}; there is nothing to tell apart")
    return Classes(tuple(labels), spec.threshold)


def labels_on(sample: Sample) -> frozenset[str]:
    """What the row has."""
    return frozenset(sample.labels) if sample.labels is not None else frozenset((str(sample.label),))


def refuse_unknown(labels: Sequence[str], samples: Sequence[Sample], split: str) -> None:
    """
    Raises:
        DataError: a row has a label that is none of `labels`.
    """
    known = set(labels)
    unknown = [label for label in _all_labels(samples) if label not in known]
    if unknown:
        raise DataError(
            f"the {split} split has the label {unknown[0]!r}, which is none of {', '.join(labels)}; mend those rows, "
            "or give training rows with this label and name it in objective.labels"
        )


def chosen_weights(spec: ClassificationSpec, labels: Sequence[str]) -> list[float]:
    """`class_weights` of each class, 1 where the job file names none.

    Raises:
        DataError: it names what is no class.
    """
    chosen = spec.class_weights if isinstance(spec.class_weights, dict) else {}
    unknown = [label for label in chosen if label not in labels]
    if unknown:
        raise DataError(f"objective.class_weights names {unknown[0]!r}, which no row has; leave it out")
    return [chosen.get(label, 1.0) for label in labels]


def _all_labels(samples: Sequence[Sample]) -> list[str]:
    return sorted({label for sample in samples for label in labels_on(sample)})


def _refuse_unlabelled(spec: ClassificationSpec, train: Sequence[Sample]) -> None:
    if spec.multi_label and any(sample.labels is None for sample in train):
        raise DataError(
            "rows have no list of labels, which objective.multi_label learns; give rows with text and labels, or leave "
            "multi_label out"
        )
    if not spec.multi_label and any(sample.label is None for sample in train):
        raise DataError("rows have no label, which objective.type classification learns; give rows with text and label")


def _told(labels: Sequence[str]) -> str:
    if not labels:
        return "no label"
    return f"the label {labels[0]!r}" if len(labels) == 1 else f"the labels {', '.join(labels)}"
