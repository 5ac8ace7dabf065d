"""Figures of one split, gathered batch by batch: 4 bytes per text, and as many per pair."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc

from workers.data.repeated_prompts import RepeatedPrompts
from workers.data.shared_start import SharedStart

_NUM_SAMPLES = 3
_PARTS = (("input_ids", "trainable", "chosen"), ("rejected_ids", "rejected_trainable", "rejected"))
_NUM_BINS = 20


@dataclass(frozen=True)
class Sample:
    """A row to show."""

    source: str
    row: int
    input_ids: list[int]
    trainable: list[bool]
    part: str = ""
    """Which one of a pair of answers, where the row is one."""


@dataclass
class SplitStatistics:
    """Counts and lengths."""

    num_rows: int = 0
    """Rows in the split."""
    num_trainable_tokens: int = 0
    samples: list[Sample] = field(default_factory=list)
    """The first rows."""
    _lengths: list[npt.NDArray[np.int32]] = field(default_factory=list)
    _start: SharedStart = field(default_factory=SharedStart)
    _prompts: RepeatedPrompts = field(default_factory=RepeatedPrompts)

    def add(self, rows: pa.Table) -> None:
        """Takes rows with `source`, `row`, `num_trainable` and what `_PARTS` names."""
        self.num_rows += rows.num_rows
        for ids, trainable, _ in _PARTS:
            self._start.add(rows[ids], rows[trainable])
            lengths = pc.list_value_length(rows[ids]).to_numpy().astype(np.int32)
            self._lengths.append(lengths[lengths > 0])
        self._prompts.add(rows)
        self.num_trainable_tokens += pc.sum(rows["num_trainable"]).as_py() or 0
        wanted = rows.slice(0, max(0, _NUM_SAMPLES - len(self.samples)))
        for row in wanted.to_pylist():
            parts = [(row[ids], row[trainable], name) for ids, trainable, name in _PARTS if row[ids]]
            for ids, trainable, name in parts:
                self.samples.append(Sample(row["source"], row["row"], ids, trainable, name if len(parts) > 1 else ""))

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each text, of which a pair of answers has two."""
        return np.concatenate([np.zeros(0, np.int32), *self._lengths])

    def document(self) -> dict[str, Any]:
        """For report.json. Lengths are in tokens; percentiles are lengths that occur."""
        lengths = self.lengths
        num_tokens = int(lengths.sum())
        document: dict[str, Any] = {
            "num_rows": self.num_rows,
            "num_tokens": num_tokens,
            "num_trainable_tokens": self.num_trainable_tokens,
            "num_masked_tokens": num_tokens - self.num_trainable_tokens,
            "num_shared_tokens": self._start.num_tokens,
            "num_repeated_tokens": self._prompts.num_tokens(self._start.num_tokens),
        }
        if len(lengths):
            p50, p90, p99 = np.percentile(lengths, [50, 90, 99], method="inverted_cdf").tolist()
            edges = np.unique(np.linspace(int(lengths.min()), int(lengths.max()) + 1, _NUM_BINS + 1).astype(int))
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
