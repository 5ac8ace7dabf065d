"""What is decided on each row for the sake of others."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from workers.data import problems

REASONS = (
    problems.DUPLICATE,
    problems.IN_OTHER_SPLIT,
    problems.BEYOND_MAX_SAMPLES,
    problems.NOT_DRAWN,
    problems.OUTSIDE_CORE_SET,
    problems.BEYOND_CLASS_CAP,
    problems.BEYOND_MAX_ROWS,
    problems.UNDERSAMPLED,
    problems.NEAR_DUPLICATE,
    problems.NEAR_OTHER_SPLIT,
)
"""Why a row is dropped for the sake of others."""


@dataclass(frozen=True)
class CameBack:
    """Rows that stay together, drawn for another split, which are trained on for the sake of a class."""

    label: str
    ordinal: int
    """Of the first of the rows."""
    split: str
    """What they had been drawn for."""


@dataclass(frozen=True)
class Decisions:
    """One entry per canonical row, in the order of the rows."""

    file: npt.NDArray[np.int32]
    """Where the row is from: index of the file."""
    row: npt.NDArray[np.int64]
    """And the row in it."""
    split: npt.NDArray[np.int8]
    """Index into `SPLITS`, or -1 for a row that is dropped."""
    reason: npt.NDArray[np.int8]
    """Why it is dropped: index into `REASONS`, or -1 for a row that stays."""
    twin: npt.NDArray[np.int64]
    """Ordinal of the row that stays for this one; the row itself if it stays."""
    cluster: npt.NDArray[np.int32] | None = None
    """Number of the row's cluster of near duplicates, equal rows among them, or -1 for a row that is like no other.
    None: nobody looked."""
    came_back: list[CameBack] = field(default_factory=list)
    """In the order of the classes."""

    def drop(self, rows: npt.NDArray[np.int64], reason: str) -> None:
        """Drops those of the rows, given by ordinal, that are still in."""
        rows = rows[self.reason[rows] < 0]
        self.reason[rows] = REASONS.index(reason)
        self.split[rows] = -1
