"""What a run has reached: everything that a later attempt needs besides the job file and the data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass
class Best:
    """The validation with the lowest loss so far."""

    step: int
    validation_loss: float
    checkpoint_uri: str
    """Committed checkpoint with the adapter of that step."""


@dataclass
class Skipped:
    """A step that was left out."""

    step: int
    """Counted from 1."""
    reason: str
    """Its loss and its gradient norm."""
    rows: list[str]
    """Where its samples came from."""


@dataclass
class Progress:
    """Changes with every step and is written into every checkpoint."""

    step: int = 0
    """Optimizer steps done."""
    num_trained_tokens: int = 0
    """Tokens that went through the model in training, prompts included."""
    num_validations_without_gain: int = 0
    training_seconds: float = 0.0
    """Spent in optimizer steps, over all attempts."""
    best: Best | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    """One row of metrics per finished step."""
    samples: list[str] = field(default_factory=list)
    """One digest per step, of the documents that it learned from."""
    skipped: list[Skipped] = field(default_factory=list)
    """Oldest first; they count as done."""
    unfinished: dict[str, float] | None = None
    """The row of the last step while its validation is still to do."""

    @property
    def tokens_per_second(self) -> float:
        """While it trained."""
        return self.num_trained_tokens / self.training_seconds

    def detached(self) -> "Progress":
        """A copy that later steps do not change. Rows are shared: they are never changed once they are in."""
        unfinished = None if self.unfinished is None else dict(self.unfinished)
        return replace(
            self,
            history=[*self.history],
            samples=[*self.samples],
            skipped=[*self.skipped],
            unfinished=unfinished,
        )

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> "Progress":
        """The inverse of `to_json`."""
        best = document["best"]
        skipped = [Skipped(**row) for row in document["skipped"]]
        return cls(**{**document, "best": Best(**best) if best else None, "skipped": skipped})
