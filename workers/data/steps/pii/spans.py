"""Where something stands in a text, and which of two that overlap counts."""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

START = r"(?:(?<=\\[nrtbf])|(?<![\w.+\\-]))"
"""Pattern of where a word starts, in plain text and after the line ends of JSON inside a text, which are two characters
there."""

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
        at = bisect(kept, span)
        begins_free = at == 0 or kept[at - 1].end <= span.start
        ends_free = at == len(kept) or span.end <= kept[at].start
        if begins_free and ends_free:
            kept.insert(at, span)
    return kept
