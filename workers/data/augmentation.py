"""What became of the wish for more training rows: what the report says of it beside the counts of each source."""

from dataclasses import dataclass, field
from typing import Any

from workers.data.problems import Ledger


@dataclass
class Usage:
    """What a model was asked."""

    num_requests: int = 0
    num_tokens: int = 0
    """Of questions and answers."""
    num_remembered: int = 0
    """Requests whose answer an earlier try of the stage had got."""


@dataclass
class Augmentation:
    """Counts of one job."""

    num_wanted: int = 0
    """Rows that were missing, to balance classes or to `min_samples`."""
    num_added: int = 0
    refused: Ledger = field(default_factory=Ledger)
    """Rows that were made, or tried to, and not added, by the place of the row that they were made of. They were never
    read, so they count as neither kept nor dropped."""
    usage: Usage | None = None
    """None: no model was needed."""

    def document(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "num_wanted": self.num_wanted,
            "num_added": self.num_added,
            "refused": self.refused.document(),
            "writer": None if self.usage is None else vars(self.usage),
        }
