"""What became of every row of a dataset: all that its report is made of."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from workers.data import problems
from workers.data.augmentation import Augmentation
from workers.data.dataset import SPLITS, SplitName
from workers.data.dedup import REASONS, Decisions
from workers.data.parts import Part
from workers.data.problems import Fault, Ledger
from workers.data.quality import Quality
from workers.data.row import Repair
from workers.data.sources import SourceFile
from workers.data.statistics import SplitStatistics
from workers.data.tally import Tally

_DETAILS: dict[str, Callable[[Part, str], str]] = {
    problems.DUPLICATE: lambda part, twin: f"same text as {twin}",
    problems.IN_OTHER_SPLIT: lambda part, twin: f"same text as {twin}",
    problems.NEAR_DUPLICATE: lambda part, twin: f"similar to {twin}",
    problems.NEAR_OTHER_SPLIT: lambda part, twin: f"similar to {twin}",
    problems.BEYOND_MAX_SAMPLES: lambda part, twin: f"max_samples is {part.max_samples}",
    **dict.fromkeys(
        (
            problems.NOT_DRAWN,
            problems.OUTSIDE_CORE_SET,
            problems.BEYOND_CLASS_CAP,
            problems.BEYOND_MAX_ROWS,
            problems.UNDERSAMPLED,
        ),
        lambda part, twin: "others were chosen",
    ),
}
"""What is said of a row that is dropped for the sake of others, by reason."""


@dataclass
class Outcome:
    """All that the report is made of."""

    parts: list[Part]
    files: list[SourceFile]
    """Those of each part, one part after the other."""
    part_of_file: list[int]
    rows_per_file: list[int]
    """Rows read, by file."""
    tallies: list[Tally]
    """By part."""
    strategy: str
    """How the training rows of the parts were put together."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Of rows that were made, what the tallies do not say."""
    quality: Quality | None = None
    """None: `data.quality.report` is off."""
    quality_by_part: Sequence[Quality] = ()
    """That of each part, where there are several."""
    clusters: dict[str, Any] | None = None
    """The largest clusters of near duplicates, for report.json; None: nobody looked for them."""
    splits: dict[SplitName, SplitStatistics] = field(
        default_factory=lambda: {name: SplitStatistics() for name in SPLITS}
    )
    came_back: Sequence[str] = ()
    """Rows that are trained on for the sake of their class, each for a person."""
    version: str = ""
    """Of the dataset, see lineage/digests.py."""

    @property
    def num_rows(self) -> int:
        """Rows read."""
        return sum(self.rows_per_file)

    @property
    def ledger(self) -> Ledger:
        """Every row that was dropped."""
        return Ledger.of(tally.ledger for tally in self.tallies)

    @property
    def repairs(self) -> Ledger:
        """Every mended row, once for each kind of repair."""
        return Ledger.of(tally.repairs for tally in self.tallies)

    def sum(self, count: Callable[[Tally], int]) -> int:
        """A count over all parts."""
        return sum(map(count, self.tallies))


def note_decisions(decisions: Decisions, outcome: Outcome) -> None:
    """Rows that are dropped for the sake of others, into the ledgers of their parts, and those that came back."""

    def place(ordinal: int) -> tuple[str, int]:
        return outcome.files[decisions.file[ordinal]].name, int(decisions.row[ordinal])

    outcome.came_back = [
        "{!r} ({} row {}, drawn for {})".format(back.label, *place(back.ordinal), back.split)
        for back in decisions.came_back
    ]
    owners = pa.array(outcome.part_of_file).take(pa.array(decisions.file)).to_numpy()
    for number, (part, tally) in enumerate(zip(outcome.parts, outcome.tallies, strict=True)):
        own = owners == number
        for code, reason in enumerate(REASONS):
            (chosen,) = ((decisions.reason == code) & own).nonzero()
            twins = ["{} row {}".format(*place(int(decisions.twin[ordinal]))) for ordinal in chosen[:20]]
            details = [_DETAILS[reason](part, twin) for twin in twins]
            first = [
                Fault(*place(row), reason, detail) for row, detail in zip(chosen[:20].tolist(), details, strict=True)
            ]
            tally.ledger.count(reason, len(chosen), first)


def note_repairs(batch: pa.RecordBatch, files: Sequence[SourceFile], ledger: Ledger) -> None:
    """What was mended in a batch with `file`, `row` and `repairs`: of each row the first of every kind."""
    mended = pa.Table.from_batches([batch]).filter(pc.is_valid(batch["repairs"])).select(["file", "row", "repairs"])
    for row in mended.to_pylist():
        first = {repair.kind: repair for repair in reversed([Repair(*values) for values in json.loads(row["repairs"])])}
        for kind, detail, count in first.values():
            ledger.count(kind, count, [Fault(files[row["file"]].name, row["row"], kind, detail)])


def faults_of(batch: pa.RecordBatch, files: Sequence[SourceFile]) -> list[Fault]:
    """The bad rows of a batch with `file`, `row`, `reason` and `detail`."""
    bad = (
        pa.Table.from_batches([batch]).filter(pc.is_valid(batch["reason"])).select(["file", "row", "reason", "detail"])
    )
    return [
        Fault(files[row["file"]].name, row["row"], row["reason"], row["detail"], files[row["file"]].unit)
        for row in bad.to_pylist()
    ]
