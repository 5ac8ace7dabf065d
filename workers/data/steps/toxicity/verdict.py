"""What a judge says of a text."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Verdict(NamedTuple):
    """How bad a text is, and in which way."""

    score: float
    """0 to 1."""
    what: str
    """Label, category or word."""


class Judge(Protocol):
    """Looks at texts."""

    def __call__(self, texts: Sequence[str]) -> Sequence[Verdict]:
        """One verdict per text, in order.

        Raises:
            StageError: it cannot tell.
        """
