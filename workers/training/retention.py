"""Which checkpoints are still needed. Pure: it names, and removes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Committed:
    """A checkpoint that can be resumed from."""

    uri: str
    best_uri: str | None
    """The checkpoint with the best weights when it was written; itself, another, or none yet."""


class Retention:
    """Keeps the newest ones, and the best ones that these refer to: falling back to an older one loses no best."""

    def __init__(self, keep: int, committed: Sequence[Committed] = ()) -> None:
        """`keep`: how many of the newest, at least two; `committed`: what is there already, oldest first."""
        assert keep >= 2, "the newest checkpoint may turn out torn"
        self._keep = keep
        self._committed = [*committed]

    def add(self, newest: Committed) -> list[str]:
        """Takes note of a commit; the URIs that are needed no more, each named once, oldest first."""
        self._committed.append(newest)
        kept = self._committed[-self._keep :]
        needed = {one.uri for one in kept} | {one.best_uri for one in kept}
        retired = [one.uri for one in self._committed if one.uri not in needed]
        self._committed = [one for one in self._committed if one.uri in needed]
        return retired
