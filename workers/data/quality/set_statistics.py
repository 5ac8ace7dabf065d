"""How rows combine classes, where each has a set of them (Tsoumakas and Katakis, 2007, Multi-Label Classification)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.data.splits.label_sets import LabelSets

_NUM_SHOWN = 20


@dataclass(frozen=True)
class SetStatistics:
    """Of the sets of some rows."""

    num_empty: int
    """Rows of no class."""
    cardinality: float
    """Mean number of classes of a row."""
    num_sets: int
    """Different sets."""
    most_frequent: Sequence[tuple[Sequence[str], int]]
    """The first sets by their rows, with their number."""

    def document(self, num_classes: int) -> dict[str, Any]:
        """For report.json. `density`: the cardinality as a share of the classes."""
        return {
            "num_empty": self.num_empty,
            "cardinality": self.cardinality,
            "density": self.cardinality / num_classes if num_classes else 0.0,
            "num_sets": self.num_sets,
            "most_frequent": [{"labels": list(one), "count": count} for one, count in self.most_frequent],
        }


def statistics_of(sets: LabelSets, rows: npt.NDArray[np.int64]) -> SetStatistics:
    """Those of some rows, of which there is at least one."""
    counts = np.bincount(sets.codes[rows], minlength=len(sets.sets))
    sizes = np.array([len(one) for one in sets.sets])
    by_size = np.argsort(-counts, kind="stable")[:_NUM_SHOWN].tolist()
    return SetStatistics(
        num_empty=int(counts[sizes == 0].sum()),
        cardinality=float((counts * sizes).sum() / len(rows)),
        num_sets=int((counts > 0).sum()),
        most_frequent=[(sets.sets[number], int(counts[number])) for number in by_size if counts[number]],
    )
