"""Classes of rows: how even they are, which texts have several, and which labels look wrong."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.data.quality.noise import suspects_of
from workers.data.quality.sample import SampledRow
from workers.data.quality.set_statistics import SetStatistics
from workers.data.row import DESIRABLE, UNDESIRABLE
from workers.data.splits.classes import Classes

NUM_SHOWN = 20
"""Examples of a kind."""
_NUM_CLASSES_SHOWN = 100

Place = Callable[[int], tuple[str, int]]
"""File and row of an ordinal."""


@dataclass(frozen=True)
class LabelQuality:
    """Of the rows that have a label, or a set of them."""

    num_rows: int
    """Rows with a label, or a set, which may be empty."""
    counts: dict[str, int]
    """Rows by class, the most frequent first."""
    num_conflicting: int
    """Rows whose text another row has with another label."""
    conflicts: list[dict[str, Any]]
    """Examples: the labels of one text and where it stands."""
    num_looked_at: int
    """Rows whose neighbours were asked."""
    num_suspect: int
    """Rows among them whose neighbours have another label."""
    suspects: list[dict[str, Any]]
    """Examples."""
    sets: SetStatistics | None = None
    """None: each row has one label."""

    @property
    def _sizes(self) -> list[int]:
        """What is compared in size: the classes, or, where rows may have a single one or none, the rows with and
        without it."""
        sizes = list(self.counts.values())
        num_without = self.num_rows - sum(sizes)
        return [*sizes, num_without] if len(sizes) == 1 and num_without else sizes

    @property
    def imbalance(self) -> float:
        """Rows of the largest class for one of the smallest; without bound if there is but one class."""
        return max(self._sizes) / min(self._sizes) if len(self._sizes) > 1 else math.inf

    @property
    def evenness(self) -> float:
        """Entropy of the classes as a share of what it is when all are of one size (Pielou, 1966); 0 of one class."""
        if len(self._sizes) < 2:
            return 0.0
        shares = np.array(self._sizes) / sum(self._sizes)
        return float(-(shares * np.log(shares)).sum() / math.log(len(shares)))

    @property
    def noise(self) -> float:
        """Share of rows whose label contradicts the same text elsewhere, or the rows like it, whichever is larger."""
        suspect = self.num_suspect / self.num_looked_at if self.num_looked_at else 0.0
        return max(self.num_conflicting / self.num_rows, suspect)

    def document(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "num_rows": self.num_rows,
            "num_classes": len(self.counts),
            "classes": [{"label": name, "count": self.counts[name]} for name in list(self.counts)[:_NUM_CLASSES_SHOWN]],
            "imbalance": None if math.isinf(self.imbalance) else self.imbalance,
            "evenness": self.evenness,
            "num_conflicting": self.num_conflicting,
            "conflicts": self.conflicts,
            "num_looked_at": self.num_looked_at,
            "num_suspect": self.num_suspect,
            "suspects": self.suspects,
            "sets": None if self.sets is None else self.sets.document(len(self.counts)),
        }


def label_quality(
    classes: Classes, texts: npt.NDArray[np.uint64], sample: Sequence[SampledRow], place: Place
) -> LabelQuality | None:
    """What can be said of the labels; None if no row has one.

    Args:
        classes: of all rows.
        texts: [rows]: equal for rows of equal words.
        sample: rows whose neighbours are asked.
    """
    codes = classes.codes
    if not (codes >= 0).any():
        return None
    counts = np.bincount(codes[codes >= 0], minlength=len(classes.names))
    by_size = np.argsort(-counts, kind="stable")
    conflicting, conflicts = conflicts_of(classes, texts, place)
    # A good and a bad answer are alike: there, neighbours say nothing.
    labelled = [row for row in sample if codes[row.ordinal] >= 0]
    looked_at = [] if set(classes.names) <= {DESIRABLE, UNDESIRABLE} else labelled
    own = codes[[row.ordinal for row in looked_at]]
    suspects = suspects_of([row.text for row in looked_at], own, len(classes.names))
    shown = []
    for suspect in suspects[:NUM_SHOWN]:
        file, row = place(looked_at[suspect.place].ordinal)
        text = looked_at[suspect.place].text[:200]
        label, likely = classes.names[own[suspect.place]], classes.names[suspect.likely]
        shown.append({"source": file, "row": row, "label": label, "likely": likely, "text": text})
    return LabelQuality(
        num_rows=int((codes >= 0).sum()),
        counts={classes.names[code]: int(counts[code]) for code in by_size if counts[code]},
        num_conflicting=conflicting,
        conflicts=conflicts,
        num_looked_at=len(looked_at),
        num_suspect=len(suspects),
        suspects=shown,
    )


def conflicts_of(classes: Classes, texts: npt.NDArray[np.uint64], place: Place) -> tuple[int, list[dict[str, Any]]]:
    """How many rows share their text with one of another label, and the first such texts."""
    (labelled,) = np.nonzero(classes.codes >= 0)
    order = labelled[np.lexsort((labelled, texts[labelled]))]
    starts = np.flatnonzero(np.r_[True, texts[order][1:] != texts[order][:-1]])
    codes = classes.codes[order]
    differs = np.maximum.reduceat(codes, starts) != np.minimum.reduceat(codes, starts)
    sizes = np.diff(np.r_[starts, len(order)])
    groups = [order[start : start + size] for start, size in zip(starts[differs], sizes[differs], strict=True)]
    first = sorted(groups, key=lambda group: int(group[0]))[:NUM_SHOWN]
    shown = [
        [
            {"source": file, "row": row, "label": classes.names[classes.codes[ordinal]]}
            for ordinal in group[:NUM_SHOWN].tolist()
            for file, row in [place(ordinal)]
        ]
        for group in first
    ]
    return int(sizes[differs].sum()), [{"rows": rows} for rows in shown]
