"""What a record says about how difficult it is (`data.curriculum`); the training goes by it."""

import math
from collections.abc import Mapping
from typing import Any

from luthier.spec.data import CurriculumSpec
from workers.data import problems
from workers.data.problems import RowError


def difficulty_of(record: Mapping[str, Any], curriculum: CurriculumSpec) -> float | None:
    """The number in its column; None where there is none, and the job has such rows go last.

    Raises:
        RowError: there is none, and the job refuses such rows; or it is no finite number.
    """
    column = curriculum.difficulty_by
    value = record.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        if curriculum.on_missing == "last":
            return None
        what = "is empty" if column in record else "is missing"
        raise RowError(
            problems.WRONG_COLUMNS,
            f"{column} {what}; data.curriculum needs it in every row, but with on_missing: last",
        )
    number = _number(value)
    if not math.isfinite(number):
        detail = f"{column} is {str(value)[:40]!r}; data.curriculum.difficulty_by expects a number"
        raise RowError(problems.WRONG_TYPE, detail)
    return number


def _number(value: Any) -> float:
    """Not a number, if it is none: cells of CSV files are text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
