"""What became of the rows of one source, to the row.

`num_rows` + `num_augmented` + `num_added_windows` + `num_repeats` = the rows that it has in the three splits + the rows
of its ledger.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from workers.data.dataset import SplitName
from workers.data.problems import Ledger


@dataclass
class Tally:
    """Counts of one part."""

    name: str
    """Of the part; empty where the job has but one."""
    num_rows: int = 0
    """Rows read."""
    ledger: Ledger = field(default_factory=Ledger)
    """Every row that was dropped."""
    repairs: Ledger = field(default_factory=Ledger)
    """Every mended row, once for each kind of repair that it needed; of lines that were taken out every line."""
    num_augmented: Counter[str] = field(default_factory=Counter)
    """Rows that were made of its training rows, by what made them."""
    num_truncated: int = 0
    num_added_windows: int = 0
    """Examples beyond the first one of their row."""
    num_repeats: int = 0
    """Training rows beyond the first time that they are in the mixture."""
    num_control_text: int = 0
    """Rows whose text spells a control token."""
    warnings: set[str] = field(default_factory=set)
    """What was found out about the encoder."""
    probability: float | None = None
    """With which a training row is drawn from this part; None: nothing is drawn."""
    num_kept: Counter[SplitName] = field(default_factory=Counter)
    """Rows by split."""
    num_trainable_tokens: int = 0
    """Of the training rows."""
    num_without_difficulty: int = 0
    """Training rows that do not say how difficult they are."""

    def keep(self, split: SplitName, rows: pa.Table) -> None:
        """Counts rows that are written to `split`; they have `num_trainable` and `difficulty`."""
        self.num_kept[split] += rows.num_rows
        if split == "train":
            self.num_without_difficulty += rows["difficulty"].null_count
            self.num_trainable_tokens += pc.sum(rows["num_trainable"]).as_py() or 0

    def document(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "name": self.name,
            "probability": self.probability,
            "num_rows_read": self.num_rows,
            "num_augmented": dict(self.num_augmented),
            "num_added_windows": self.num_added_windows,
            "num_repeats": self.num_repeats,
            "num_dropped": dict(self.ledger.counts),
            "num_repaired": dict(self.repairs.counts),
            "num_rows": dict(self.num_kept),
            "num_trainable_tokens": self.num_trainable_tokens,
        }
