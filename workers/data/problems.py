"""What can be wrong with a row, and how it is told: by file, line and what was expected."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

NOT_UTF8 = "not UTF-8"
BROKEN_JSON = "broken JSON"
BROKEN_FILE = "broken file"
TOO_LARGE = "too large"
WRONG_COLUMNS = "wrong columns"
WRONG_TYPE = "wrong type"
EMPTY = "empty"
WRONG_ROLES = "wrong roles"
UNKNOWN_LABEL = "unknown label"
REFUSED_BY_TEMPLATE = "refused by the chat template"

PERSONAL_DATA = "personal data"
TOXIC = "toxic"

DUPLICATE = "duplicate"
IN_OTHER_SPLIT = "also in validation or test"
OVERLONG = "overlong"
NOTHING_TRAINABLE = "nothing to train on"
UNSTABLE_TEMPLATE = "unstable chat template"
NEAR_DUPLICATE = "near duplicate"
NEAR_OTHER_SPLIT = "near duplicate of validation or test"
CONTAMINATED = "in a benchmark"
BEYOND_MAX_SAMPLES = "beyond max_samples"
LEFT_OUT = "left out of the mixture"
EMPTY_AFTER_CLEANING = "empty after cleaning"
NOT_DRAWN = "not drawn by select.fraction"
OUTSIDE_CORE_SET = "others stand for it (select.influence)"
BEYOND_CLASS_CAP = "beyond select.max_per_class"
BEYOND_MAX_ROWS = "beyond select.max_rows"
UNDERSAMPLED = "left out to balance the classes"

INVALID = frozenset(
    {NOT_UTF8, BROKEN_JSON, BROKEN_FILE, TOO_LARGE, WRONG_COLUMNS, WRONG_TYPE, EMPTY, WRONG_ROLES, UNKNOWN_LABEL}
    | {REFUSED_BY_TEMPLATE}
)
"""Faults of a row itself: `data.on_invalid_row` decides whether they fail the job."""

Unit = Literal["line", "row"]
"""What the number of a row counts: lines of its file as an editor shows them, or rows."""

_NUM_LISTED = 20


def filtered_by(rule: str) -> str:
    """Why a row is dropped that breaks a rule of `data.filters`."""
    return f"filters.{rule}"


class RowError(ValueError):
    """One row cannot be used."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Fault:
    """One row and what is wrong with it."""

    source: str
    """Name of the file."""
    row: int
    """1-based number of the line, or of the row where `unit` says so."""
    reason: str
    detail: str
    unit: Unit = "line"

    def __str__(self) -> str:
        return f"{self.source} {self.unit} {self.row}: {self.reason}: {self.detail}"


@dataclass
class Ledger:
    """Every dropped row is counted by reason; of each reason the first 20 are kept by name."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[Fault]] = field(default_factory=dict)

    def add(self, faults: Sequence[Fault]) -> None:
        """Notes rows in the order in which they were found."""
        for fault in faults:
            self.counts[fault.reason] += 1
            listed = self.first.setdefault(fault.reason, [])
            if len(listed) < _NUM_LISTED:
                listed.append(fault)

    def count(self, reason: str, num_rows: int, first: Sequence[Fault]) -> None:
        """Notes `num_rows` rows at once, of which only the `first` are named."""
        if num_rows:
            self.counts[reason] += num_rows
            listed = self.first.setdefault(reason, [])
            listed.extend(first[: _NUM_LISTED - len(listed)])

    @classmethod
    def of(cls, ledgers: Iterable["Ledger"]) -> "Ledger":
        """All of them as one, in their order."""
        merged = cls()
        for ledger in ledgers:
            for reason, count in ledger.counts.items():
                merged.count(reason, count, ledger.first.get(reason, []))
        return merged

    @property
    def num_invalid(self) -> int:
        """Rows with a fault of their own."""
        return sum(self.counts[reason] for reason in INVALID)

    def invalid_message(self, num_rows: int) -> str:
        """Up to ten invalid rows in file order, how many there are, and the way out."""
        listed = self.first_invalid(10)
        lines = "".join(f"\n  {fault}" for fault in listed)
        more = f"\n  ... and {self.num_invalid - len(listed)} more" if self.num_invalid > len(listed) else ""
        rows = "row" if self.num_invalid == 1 else "rows"
        return (
            f"{self.num_invalid} invalid {rows} of {num_rows}; mend them, or set data.on_invalid_row: drop to leave "
            f"them out:{lines}{more}"
        )

    def first_invalid(self, number: int) -> list[Fault]:
        """So many of the rows with a fault of their own, in file order, or as many as there are."""
        faults = [fault for reason in INVALID for fault in self.first.get(reason, [])]
        return sorted(faults, key=lambda fault: (fault.source, fault.row))[:number]

    def summary(self) -> str:
        """Reasons with counts, the most frequent first."""
        return ", ".join(f"{count} {reason}" for reason, count in self.counts.most_common()) or "none"

    def document(self) -> list[dict[str, Any]]:
        """For report.json."""
        return [
            {
                "reason": reason,
                "count": count,
                "rows": [{"source": f.source, "row": f.row, "detail": f.detail} for f in self.first.get(reason, [])],
            }
            for reason, count in self.counts.most_common()
        ]
