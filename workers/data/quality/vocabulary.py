"""The words of a sample of rows: how many, how rich, and which of them look like accidents."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# What joins words in lists, tables, JSON and code is not part of them.
_WORD = re.compile(r"[^\s|{}()\[\]<>\"',:;=]+")
_EDGES = ".,;:!?\"'()[]{}<>*_`\u2026\u201c\u201d\u2018\u2019\u00ab\u00bb"
_MAX_LENGTH = 40
_PLACE = re.compile(r"://|/|\\|@|[=&]|^[\w.-]+\.\w+$")
_LATIN = re.compile(r"[A-Za-z]")
_LOOKALIKE = re.compile("[\u0370-\u03ff\u0400-\u04ff]")
_SPACELESS = re.compile("[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_NUM_SHOWN = 20


@dataclass(frozen=True)
class Vocabulary:
    """Figures of a sample."""

    num_rows: int
    num_words: int
    num_distinct: int
    num_once: int
    """Distinct words that occur once."""
    most_frequent: list[tuple[str, int]]
    num_odd_rows: int
    """Rows with a word that is longer than 40 characters and no address, or mixes Latin with Greek or Cyrillic
    letters."""
    odd: list[str]
    """Examples of such words."""

    def document(self) -> dict[str, Any]:
        """For report.json."""
        return {
            "num_sampled_rows": self.num_rows,
            "num_words": self.num_words,
            "num_distinct": self.num_distinct,
            "num_once": self.num_once,
            "most_frequent": [{"word": word, "count": count} for word, count in self.most_frequent],
            "num_odd_rows": self.num_odd_rows,
            "odd_words": self.odd,
        }


def vocabulary_of(texts: Sequence[str]) -> Vocabulary:
    """The words of the texts, without punctuation around them, in lower case."""
    counts: Counter[str] = Counter()
    odd: dict[str, None] = {}
    num_odd_rows = 0
    for text in texts:
        words = [word for found in _WORD.findall(text) if (word := found.strip(_EDGES))]
        counts.update(map(str.lower, words))
        strange = [word for word in words if _is_odd(word)]
        num_odd_rows += bool(strange)
        odd.update(dict.fromkeys(word[:_MAX_LENGTH] for word in strange))
    return Vocabulary(
        num_rows=len(texts),
        num_words=counts.total(),
        num_distinct=len(counts),
        num_once=sum(count == 1 for count in counts.values()),
        most_frequent=counts.most_common(_NUM_SHOWN),
        num_odd_rows=num_odd_rows,
        odd=list(odd)[:_NUM_SHOWN],
    )


def _is_odd(word: str) -> bool:
    if len(word) > _MAX_LENGTH:
        return not _PLACE.search(word) and not _SPACELESS.search(word)
    return not word.isascii() and bool(_LATIN.search(word)) and bool(_LOOKALIKE.search(word))
