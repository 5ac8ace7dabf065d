"""Figures of one split, gathered batch by batch: 4 bytes per row."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc

_NUM_SAMPLES = 3
_NUM_BINS = 20


@dataclass(frozen=True)
class Sample:
    """A row to show."""

    source: str
    row: int
    input_ids: list[int]
    trainable: list[bool]


@dataclass
class SplitStatistics:
    """Counts and lengths."""

    num_trainable_tokens: int = 0
    samples: list[Sample] = field(default_factory=list)
    """The first rows."""
    _lengths: list[npt.NDArray[np.int32]] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        """Takes rows with `source`, `row`, `input_ids`, `trainable` and `num_trainable`."""
        self._lengths.append(pc.list_value_length(rows["input_ids"]).to_numpy().astype(np.int32))
        self.num_trainable_tokens += pc.sum(rows["num_trainable"]).as_py() or 0
        wanted = rows.slice(0, max(0, _NUM_SAMPLES - len(self.samples)))
        for row in wanted.select(["source", "row", "input_ids", "trainable"]).to_pylist():
            self.samples.append(Sample(**row))

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Shape (num_rows,): tokens of each row."""
        return np.concatenate([np.zeros(0, np.int32), *self._lengths])

    @property
    def num_rows(self) -> int:
        """Rows in the split."""
        return sum(map(len, self._lengths))

    def document(self) -> dict[str, Any]:
        """For report.json. Lengths are in tokens; percentiles are lengths that occur."""
        lengths = self.lengths
        num_tokens = int(lengths.sum())
        document: dict[str, Any] = {
            "num_rows": len(lengths),
            "num_tokens": num_tokens,
            "num_trainable_tokens": self.num_trainable_tokens,
            "num_masked_tokens": num_tokens - self.num_trainable_tokens,
        }
        if len(lengths):
            p50, p90, p99 = np.percentile(lengths, [50, 90, 99], method="inverted_cdf").tolist()
            edges = np.unique(np.linspace(0, int(lengths.max()) + 1, _NUM_BINS + 1).astype(int))
            counts, _ = np.histogram(lengths, edges)
            document["lengths"] = {
                "min": int(lengths.min()),
                "mean": float(lengths.mean()),
                "p50": int(p50),
                "p90": int(p90),
                "p99": int(p99),
                "max": int(lengths.max()),
                "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
            }
        return document
