"""Which class each row is of, as its notes say."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.data.storage.scratch import read_scratch


@dataclass(frozen=True)
class Classes:
    """The labels of all rows."""

    names: Sequence[str]
    """In the order in which they are first met."""
    codes: npt.NDArray[np.int32]
    """[rows]: index into `names`, or -1 for a row without a label."""


def read_classes(rows: Path, num_rows: int) -> Classes:
    """Those of the `num_rows` rows in the sub-folders of `rows`."""
    codes = np.full(num_rows, -1, np.int32)
    numbers: dict[str, int] = {}
    for start, batch in read_scratch(rows, ["notes"]):
        for place, notes in enumerate(batch["notes"].to_pylist(), start):
            label = json.loads(notes)["label"] if notes is not None else None
            if label is not None:
                codes[place] = numbers.setdefault(label, len(numbers))
    return Classes(list(numbers), codes)
