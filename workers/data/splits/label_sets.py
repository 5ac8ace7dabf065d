"""Which classes each row has, where a row has a set of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse


@dataclass(frozen=True)
class LabelSets:
    """The sets of all rows."""

    sets: Sequence[Sequence[str]]
    """The different ones; each sorted, perhaps empty."""
    codes: npt.NDArray[np.int32]
    """[rows]: index into `sets`, or -1 for a row without one."""

    @classmethod
    def of(cls, codes: npt.NDArray[np.int32], texts: Sequence[str]) -> "LabelSets | None":
        """From the column `labels`, as `read_codes` has it; None if no row has a set."""
        return cls([json.loads(text) for text in texts], codes) if len(texts) else None

    @cached_property
    def names(self) -> list[str]:
        """All classes, sorted."""
        return sorted({name for one in self.sets for name in one})

    @cached_property
    def members(self) -> sparse.csr_array:
        """[sets, names]: 1 where the class is in the set."""
        numbers = {name: number for number, name in enumerate(self.names)}
        columns = [numbers[name] for one in self.sets for name in one]
        starts = np.cumsum([0, *map(len, self.sets)])
        return sparse.csr_array((np.ones(len(columns), np.int64), columns, starts), (len(self.sets), len(self.names)))

    def of_rows(self, rows: npt.NDArray[np.int64]) -> sparse.csr_array:
        """[rows, names]: the classes of some rows, all of which have a set."""
        return self.members[self.codes[rows]]

    def strata(self) -> sparse.csr_array:
        """[rows, names + 1]: the classes of all rows, all of which have a set; the last column: of none."""
        is_empty = [[int(not one)] for one in self.sets]
        return sparse.hstack([self.members, sparse.csr_array(np.array(is_empty))], format="csr")[self.codes]


def named(text: str) -> str:
    """A set of classes, given as JSON, for a person: `no label`, `the label 'a'`, or `the labels 'a' and 'b'`."""
    names = json.loads(text)
    if not names:
        return "no label"
    return f"the label{'s' if len(names) > 1 else ''} {' and '.join(map(repr, names))}"
