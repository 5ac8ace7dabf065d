"""What the scores of a head mean: a class each, and which of them a text gets."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Classes:
    """The classes that a head scores."""

    labels: tuple[str, ...]
    """Their names, in the order of the scores."""
    threshold: float | None = None
    """The probability from which on a text gets a class, however many it gets; None: it gets the likeliest one."""

    def pick(self, scores: torch.Tensor) -> torch.Tensor:
        """bool, of the shape of `scores`, [..., classes] logits: whether a text gets the class.

        Of several classes each has a probability of its own, the logistic function of its score.
        """
        if self.threshold is not None:
            return scores.sigmoid() >= self.threshold
        best = scores.argmax(-1, keepdim=True)
        return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)

    def given(self, scores: torch.Tensor) -> list[frozenset[str]]:
        """The names of what `pick` picks for each of [texts, classes]."""
        return [
            frozenset(label for label, is_picked in zip(self.labels, row, strict=True) if is_picked)
            for row in self.pick(scores).tolist()
        ]
