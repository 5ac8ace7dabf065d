"""What a record says about the split that it may go to (`data.split`): its group, its stratum and its time."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from luthier.spec import DataSpec
from luthier.spec.data import SplitSpec
from workers.data import problems
from workers.data.problems import RowError

LABEL, LABELS, LANGUAGE = "label", "labels", "language"
"""Strata that rows have by themselves. A set of classes and the language have columns of their own: the language is not
known before all steps are taken."""


@dataclass(frozen=True)
class SplitKeys:
    """Of one row; each None where the job does not ask for it."""

    group: int | None = None
    """64 bits, equal for equal values."""
    stratum: str | None = None
    time: float | None = None
    """Seconds since 1970, or the number that the record has."""


def key_columns(spec: DataSpec) -> list[str]:
    """Columns that must be read for the split alone."""
    split = spec.split or SplitSpec()
    stratum = None if split.stratify_by == LANGUAGE else split.stratify_by
    return [name for name in (split.group_by, stratum, split.time_by) if name is not None]


def split_keys(record: Mapping[str, Any], label: str | None, has_labels: bool, split: SplitSpec) -> SplitKeys:
    """The keys of one row.

    Args:
        record: as it was read.
        label: its class, if it is of a shape that has one.
        has_labels: whether it has a set of classes, which is its stratum then, and not said here.
        split: what is asked for.

    Raises:
        RowError: a column is missing or empty, or holds no time.
    """
    is_known = split.stratify_by in (None, LANGUAGE) or (has_labels and split.stratify_by in (LABEL, LABELS))
    return SplitKeys(
        group=None if split.group_by is None else _group(_value(record, split.group_by, "group_by")),
        stratum=None if is_known else _stratum(record, label, str(split.stratify_by)),
        time=None if split.time_by is None else _time(_value(record, split.time_by, "time_by"), split.time_by),
    )


def _value(record: Mapping[str, Any], column: str, key: str) -> Any:
    value = record.get(column)
    if value is None or value == "":
        what = "is empty" if column in record else "is missing"
        raise RowError(problems.WRONG_COLUMNS, f"{column} {what}; data.split.{key} needs it in every row")
    return value


def _group(value: Any) -> int:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _stratum(record: Mapping[str, Any], label: str | None, name: str) -> str:
    if name == LABEL and label is not None:
        return label
    value = _value(record, name, "stratify_by")
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _time(value: Any, column: str) -> float:
    time = math.nan
    if isinstance(value, str):
        time = _parse(value.strip())
    elif isinstance(value, int | float) and not isinstance(value, bool):
        time = float(value) if abs(value) < 1e300 else math.nan
    if not math.isfinite(time):
        raise RowError(
            problems.WRONG_TYPE,
            f"{column} is {str(value)[:40]!r}; data.split.time_by expects a date, a time (ISO 8601) or a number",
        )
    return time


def _parse(text: str) -> float:
    """A moment without a zone is one of UTC. Not a number, if it is neither."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
