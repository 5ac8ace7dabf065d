"""`synonyms`: plain words replaced by words of the same meaning, as in EDA (Wei and Zou, 2019, arXiv:1901.11196).

Which meaning is meant and which form of the word is needed is not looked at: a thesaurus knows `big`, not `bigger`, and
words that it does not know stay.
"""

from collections.abc import Sequence
from random import Random

from luthier.spec.data.augment import AugmentSpec
from workers.data.augment.origin import Origin, Refusal, rewritten
from workers.data.augment.protect import Word, plain_words
from workers.data.augment.thesaurus import Thesaurus
from workers.data.row import Content


class Synonyms:
    """A `Method`."""

    def __init__(self, spec: AugmentSpec, thesaurus: Thesaurus) -> None:
        self._rate = spec.synonym_rate
        self._answers = spec.answers
        self._thesaurus = thesaurus

    def __call__(self, origins: Sequence[Origin], pool: Sequence[Origin]) -> list[Content | Refusal]:
        """A row with other words of each."""
        return [self._make(origin, origin.random("synonyms")) for origin in origins]

    def _make(self, origin: Origin, random: Random) -> Content | Refusal:
        def change(text: str) -> str:
            return with_synonyms(text, self._rate, self._thesaurus, random)

        return rewritten(origin, change, answers=self._answers)


def with_synonyms(text: str, rate: float, thesaurus: Thesaurus, random: Random) -> str:
    """The text with `rate` of the words that have a synonym replaced, and one at least if there is one."""
    words = [word for word in plain_words(text) if thesaurus.synonyms(word.text.lower())]
    if not words:
        return text
    chosen = sorted(random.sample(words, max(1, round(rate * len(words)))), key=lambda word: word.start, reverse=True)
    for word in chosen:
        text = text[: word.start] + _replacement(word, thesaurus, random) + text[word.end :]
    return text


def _replacement(word: Word, thesaurus: Thesaurus, random: Random) -> str:
    other = random.choice(thesaurus.synonyms(word.text.lower()))
    return other[0].upper() + other[1:] if word.text[0].isupper() else other
