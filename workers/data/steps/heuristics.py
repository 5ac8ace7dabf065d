"""What Gopher and C4 measure of a text (Rae et al., 2021, arXiv:2112.11446, section A.1.1 and table A1; Raffel et al.,
2020, arXiv:1910.10683, section 2.2). One function per measure, one row per measure in `MEASURES`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

_MAX_WORDS = 100_000
_STOP_WORDS = frozenset(["the", "be", "to", "of", "and", "that", "have", "with"])
_BULLETS = ("-", "*", "•", "‣", "◦", "▪", "●", "\u2013")
_ELLIPSES = ("...", "…")
_LETTER = re.compile(r"[^\W\d_]")
_PARAGRAPHS = re.compile(r"\n{2,}")
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]]*+(?=\s|$)|[\u3002\uff01\uff1f]+")


@dataclass(frozen=True)
class Text:
    """A text and its parts, each made when it is asked for."""

    whole: str
    num_turns: int
    """Messages of user and assistant; 1 of a text."""

    @cached_property
    def words(self) -> list[str]:
        """Between white space."""
        return self.whole.split()

    @property
    def first_words(self) -> list[str]:
        """The first 100,000: so many of a row are looked at for runs of words that come again."""
        return self.words[:_MAX_WORDS]

    @cached_property
    def lines(self) -> list[str]:
        """Those that are not blank."""
        return [line for line in map(str.strip, self.whole.split("\n")) if line]

    @cached_property
    def paragraphs(self) -> list[str]:
        """Between blank lines."""
        return [part for part in map(str.strip, _PARAGRAPHS.split(self.whole)) if part]

    @cached_property
    def has_repeats(self) -> bool:
        """Whether any five words in a row are there twice; without them there are no longer repeats either."""
        grams = list(_grams(self.first_words, 5))
        return len(set(grams)) < len(grams)


def _share(count: float, total: int) -> float:
    return count / total if total else 0.0


def _symbols(text: Text) -> float:
    ellipses = sum(map(text.whole.count, _ELLIPSES))
    return _share(max(text.whole.count("#"), ellipses), len(text.words))


def _lines_where(test: Callable[[str], bool]) -> Callable[[Text], float]:
    return lambda text: _share(sum(map(test, text.lines)), len(text.lines))


def _repeated(parts: Sequence[str]) -> float:
    return _share(len(parts) - len(set(parts)), len(parts))


def _repeated_characters(parts: Sequence[str], whole: str) -> float:
    again = sum((count - 1) * len(part) for part, count in Counter(parts).items())
    return _share(again, len(whole))


def _grams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(size)), strict=False)


def _top_gram(size: int) -> Callable[[Text], float]:
    """Characters of the most frequent run of `size` words, in all its places, among those of all words."""

    def measure(text: Text) -> float:
        counts = Counter(_grams(text.first_words, size))
        if not counts:
            return 0.0
        most = max(counts.values())
        if most == 1:
            return 0.0
        longest = max(sum(map(len, gram)) for gram, count in counts.items() if count == most)
        return _share(longest * most, sum(map(len, text.first_words)))

    return measure


def _repeated_grams(size: int) -> Callable[[Text], float]:
    """Characters of words in runs of `size` that were there before, each word once, among those of all words."""

    def measure(text: Text) -> float:
        if not text.has_repeats:
            return 0.0
        words, seen, again, done = text.first_words, set(), 0, 0
        for start, gram in enumerate(_grams(words, size)):
            if gram in seen:
                first = max(start, done)
                again += sum(map(len, words[first : start + size]))
                done = start + size
            seen.add(gram)
        return _share(again, sum(map(len, words)))

    return measure


MEASURES: dict[str, Callable[[Text], float]] = {
    "turns": lambda text: text.num_turns,
    "characters": lambda text: len(text.whole),
    "words": lambda text: len(text.words),
    "mean_word_length": lambda text: _share(sum(map(len, text.words)), len(text.words)),
    "curly_braces": lambda text: text.whole.count("{") + text.whole.count("}"),
    "lorem_ipsum": lambda text: text.whole.lower().count("lorem ipsum"),
    "symbol_to_word_ratio": _symbols,
    "bullet_lines": _lines_where(lambda line: line.startswith(_BULLETS)),
    "ellipsis_lines": _lines_where(lambda line: line.endswith(_ELLIPSES)),
    "alphabetic_words": lambda text: _share(sum(bool(_LETTER.search(word)) for word in text.words), len(text.words)),
    "stop_words": lambda text: len(_STOP_WORDS.intersection(map(str.lower, text.words))),
    "sentences": lambda text: len(_SENTENCE_END.findall(text.whole)),
    "repeated_lines": lambda text: _repeated(text.lines),
    "repeated_paragraphs": lambda text: _repeated(text.paragraphs),
    "repeated_line_characters": lambda text: _repeated_characters(text.lines, text.whole),
    "repeated_paragraph_characters": lambda text: _repeated_characters(text.paragraphs, text.whole),
    **{f"top_{size}_gram": _top_gram(size) for size in (2, 3, 4)},
    **{f"repeated_{size}_grams": _repeated_grams(size) for size in range(5, 11)},
}
"""By the name that follows `min_`, `max_` or `no_` in `data.filters`; cheap ones first."""
