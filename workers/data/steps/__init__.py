"""What is done to rows one by one, each step on or off in `data`. A new step is one module and one row here.

A step gets the rows of a batch that are still in, in order, and may change each, note what it mended
(`row.repairs.append(Repair(kind, detail))`), or drop it (`row.error = RowError(reason, detail)`). It never
takes a row out of the list: every row that was read is counted.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from luthier.spec import DataSpec
from workers.data.row import Row
from workers.data.steps import clean, filters, language, lines, pii, toxicity


class RowStep(Protocol):
    """Looks at rows one by one."""

    def __call__(self, rows: Sequence[Row], /) -> None: ...


STEPS: dict[str, Callable[[DataSpec], RowStep | None]] = {
    "clean": clean.build,
    "lines": lines.build,
    "language": language.build,
    "filters": filters.build,
    "toxicity": toxicity.build,
    "pii": pii.build,
}
"""By name, in the order in which they are taken; None: the job does without."""


def steps_of(spec: DataSpec) -> list[RowStep]:
    """The steps that a job asks for. Built where the rows are read, because models do not travel."""
    steps = (build(spec) for build in STEPS.values())
    return [step for step in steps if step is not None]
