"""What augmentation works on: a training row, and what may come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from workers.data.row import CONTEXT, TARGET, Content, Notes


@dataclass(frozen=True)
class Origin:
    """A training row that others are made of."""

    ordinal: int
    """Of the row in the scratch folder."""
    content: Content
    notes: Notes
    fingerprint: int
    """Seeded by `data.seed`."""
    learns_all: bool
    """Whether all of it is learned, and there is no question beside the answer."""
    copy: int = 0
    """Which try this is to make a row of it, counted from 0."""

    def random(self, what: str) -> Random:
        """Draws that depend on the job's seed, the row, the try and `what` alone."""
        return Random(f"{self.fingerprint}/{self.copy}/{what}")  # noqa: S311 - no secret


@dataclass(frozen=True)
class Refusal:
    """No row came of it."""

    reason: str
    detail: str


class Method(Protocol):
    """Makes one row of each origin."""

    def __call__(self, origins: Sequence[Origin], pool: Sequence[Origin]) -> list[Content | Refusal]:
        """
        Args:
            origins: rows that are to be made something of.
            pool: training rows of the same source nearby, the origins among them.
        """


UNCHANGED = "nothing to change"
ANSWERS_ARE_KEPT = "only answers, which are kept"
ASKED, LEARNED = frozenset(("user", CONTEXT)), frozenset(("assistant", TARGET))
"""Roles of what a model is asked, and of what it learns."""


def rewritten(origin: Origin, change: Callable[[str], str], *, answers: bool) -> Content | Refusal:
    """The row with `change` made to what is asked, and to what is learned where `answers` says so."""
    content = origin.content
    if origin.learns_all and not answers:
        return Refusal(ANSWERS_ARE_KEPT, "all of it is learned; data.augment.answers: true changes it")
    if isinstance(content, str):
        changed: Content = change(content)
    else:
        roles = ASKED | LEARNED if answers else ASKED
        changed = [
            {**message, "content": change(message["content"])} if message["role"] in roles else message
            for message in content
        ]
    if changed == content:
        return Refusal(UNCHANGED, "it has no word that may be changed so")
    return changed
