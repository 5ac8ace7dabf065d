"""Where something stands in a text, and which of two that overlap counts."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

Find = Callable[[str], Iterator[tuple[int, int]]]
"""Start and end of everything of one kind in a text, in characters."""


class Span(NamedTuple):
    """One place in a text."""

    start: int
    end: int
    kind: str


def apart(found: Iterable[Span]) -> list[Span]:
    """In order of place, without those that overlap with one that comes earlier in `found`."""
    kept: list[Span] = []
    for span in found:
        if all(span.end <= other.start or other.end <= span.start for other in kept):
            kept.append(span)
    return sorted(kept)
