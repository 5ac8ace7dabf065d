"""`data.quality`: refuses a job whose rows are not what it asks for, with all that failed and its remedy."""

from collections.abc import Callable
from dataclasses import dataclass

from luthier.spec.data import QualitySpec
from workers.data.quality.score import PARTS, Quality
from workers.failures import DataError


@dataclass(frozen=True)
class _Threshold:
    """One bound of the job file."""

    value: Callable[[Quality], float | None]
    """None: it does not apply."""
    what: str
    """What the value is, for a person."""
    remedy: str


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0


_THRESHOLDS: dict[str, _Threshold] = {
    "min_score": _Threshold(lambda q: q.score, "the score", "mend what the lowest parts name"),
    "min_rows": _Threshold(
        lambda q: q.num_kept, "rows that stay", "add rows, or see in num_dropped why others were left out"
    ),
    "max_invalid": _Threshold(
        lambda q: _share(q.num_invalid + q.num_empty, q.num_read),
        "the share of rows with a fault",
        "mend the rows; data.repair and data.clean mend some",
    ),
    "max_encoding_faults": _Threshold(
        lambda q: _share(q.num_broken, q.num_good),
        "the share of rows with broken characters",
        "set data.clean.encoding and data.clean.control, or write the file as UTF-8 again from its source",
    ),
    "max_duplicates": _Threshold(
        lambda q: _share(q.num_duplicates, q.num_good),
        "the share of duplicates",
        "take rows from more varied sources",
    ),
    "min_classes": _Threshold(
        lambda q: None if q.labels is None else len(q.labels.counts), "classes", "add rows of other classes"
    ),
    "max_class_imbalance": _Threshold(
        lambda q: None if q.labels is None else q.labels.imbalance,
        "rows of the largest class for one of the smallest",
        "add rows of small classes; or set data.balance or objective.class_weights, which even out what is trained "
        "on, and raise this",
    ),
    "max_label_noise": _Threshold(
        lambda q: None if q.labels is None else q.labels.noise,
        "the share of labels that look wrong",
        "look at the rows named below",
    ),
    "max_other_languages": _Threshold(
        lambda q: q.other_languages,
        "the share of rows in other languages than the most frequent one",
        "set data.filters.languages",
    ),
}
_NUM_NAMED = 5


def check_quality(quality: Quality, spec: QualitySpec) -> None:
    """
    Raises:
        DataError: the rows break a threshold of `spec`.
    """
    failed = []
    for name, threshold in _THRESHOLDS.items():
        bound, value = getattr(spec, name), threshold.value(quality)
        if bound is None or value is None:
            continue
        if (value < bound) if name.startswith("min_") else (value > bound):
            failed.append(f"{name} is {bound:g}, {threshold.what}: {_shown(value)}; {threshold.remedy}")
    if failed:
        lines = "".join(f"\n  {line}" for line in [*failed, *_examples(quality)])
        raise DataError(
            f"the rows are not what data.quality asks for; mend them, or change it:{lines}{_parts(quality)}"
        )


def _shown(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parts(quality: Quality) -> str:
    lowest = sorted(quality.parts.items(), key=lambda part: part[1])
    shown = ", ".join(f"{name} {value:.3f} (weight {PARTS[name].weight:g})" for name, value in lowest)
    return f"\n  score {quality.score:.1f} of: {shown}"


def _examples(quality: Quality) -> list[str]:
    lines = [f"broken characters: {one['source']} row {one['row']}" for one in quality.broken[:_NUM_NAMED]]
    if quality.labels is None:
        return lines
    for conflict in quality.labels.conflicts[:_NUM_NAMED]:
        rows = ", ".join(f"{one['source']} row {one['row']} is {one['label']}" for one in conflict["rows"])
        lines.append(f"same text, different labels: {rows}")
    for one in quality.labels.suspects[:_NUM_NAMED]:
        lines.append(f"{one['source']} row {one['row']} is {one['label']}; rows like it are {one['likely']}")
    return lines
