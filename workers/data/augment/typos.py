"""`typos`: slips of the keyboard in plain words: a neighbouring key, two letters swapped, one lost, one doubled.

The kinds are those of Belinkov and Bisk (2018, arXiv:1711.02173). The first letter stays, and everything that is no
plain word.
"""

from collections.abc import Sequence
from random import Random

from luthier.spec.data.augment import AugmentSpec
from workers.data.augment.origin import Origin, Refusal, rewritten
from workers.data.augment.protect import Word, plain_words
from workers.data.row import Content

_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""Rows of a US keyboard, each half a key to the right of the one above."""


def _neighbours() -> dict[str, str]:
    keys = {letter: (x + y / 2, y) for y, row in enumerate(_KEYBOARD) for x, letter in enumerate(row)}
    return {
        letter: "".join(
            other for other, (u, v) in keys.items() if other != letter and abs(u - x) <= 1 and abs(v - y) <= 1
        )
        for letter, (x, y) in keys.items()
    }


_NEIGHBOURS = _neighbours()


class Typos:
    """A `Method`."""

    def __init__(self, spec: AugmentSpec) -> None:
        self._rate = spec.typo_rate
        self._answers = spec.answers

    def __call__(self, origins: Sequence[Origin], pool: Sequence[Origin]) -> list[Content | Refusal]:
        """A row with typos of each."""
        return [self._make(origin, origin.random("typos")) for origin in origins]

    def _make(self, origin: Origin, random: Random) -> Content | Refusal:
        return rewritten(origin, lambda text: with_typos(text, self._rate, random), answers=self._answers)


def with_typos(text: str, rate: float, random: Random) -> str:
    """The text with a typo in `rate` of its plain words, and in one at least if there is one."""
    words = plain_words(text)
    if not words:
        return text
    chosen = sorted(random.sample(words, max(1, round(rate * len(words)))), key=lambda word: word.start, reverse=True)
    for word in chosen:
        text = text[: word.start] + _slip(word, random) + text[word.end :]
    return text


def _slip(word: Word, random: Random) -> str:
    text = word.text
    place = random.randrange(1, len(text))
    swap = [at for at in range(1, len(text) - 1) if text[at] != text[at + 1]]
    kinds = ["lose", "double", *(["neighbour"] if text[place] in _NEIGHBOURS else []), *(["swap"] if swap else [])]
    kind = random.choice(kinds)
    if kind == "swap":
        at = random.choice(swap)
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    if kind == "neighbour":
        return text[:place] + random.choice(_NEIGHBOURS[text[place]]) + text[place + 1 :]
    if kind == "double":
        return text[:place] + text[place] + text[place:]
    return text[:place] + text[place + 1 :]
