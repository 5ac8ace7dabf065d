"""Hashes of all n-grams of many texts at once: fingerprints of substrings (Karp and Rabin, 1987) modulo 2^64.

A hash is a sum of random numbers, one per byte, times powers of an odd number. Sums of a whole text give those of all
its n-grams by one subtraction each, whatever n is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_BASE = 0x9E3779B97F4A7C15
_BATCH_CHARACTERS = 1 << 20
_INVERSE = pow(_BASE, -1, 1 << 64)
_NUMBERS = np.random.default_rng(13).integers(0, 1 << 64, 256, dtype=np.uint64)


@dataclass(frozen=True)
class Ngrams:
    """Of several texts, each array of shape (n-grams,)."""

    hashes: npt.NDArray[np.uint64]
    """Equal for equal n-grams, in whatever process."""
    texts: npt.NDArray[np.int64]
    """Index of the text."""
    starts: npt.NDArray[np.int64]
    """Where in that text it begins: byte."""
    stops: npt.NDArray[np.int64]


class Words:
    """Texts, one space between their words, ready to be asked for n-grams of several lengths.

    It takes about 40 bytes per byte of text, so texts come in batches.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode() for text in texts]
        self._buffer = np.frombuffer(b" ".join(encoded), np.uint8)
        sizes = np.array([len(text) for text in encoded], np.int64)
        self._begins = np.cumsum(np.append(0, sizes + 1))[:-1]
        (spaces,) = np.nonzero(self._buffer == ord(" "))
        starts, stops = np.append(0, spaces + 1), np.append(spaces, len(self._buffer))
        is_word = stops > starts
        self._starts, self._stops = starts[is_word], stops[is_word]
        self._texts = np.searchsorted(self._begins, self._starts, side="right") - 1
        self.num_words = np.bincount(self._texts, minlength=len(texts))
        """Shape (texts,)."""
        powers = _powers(_BASE, len(self._buffer))
        self._sums = np.append(np.uint64(0), np.cumsum(_NUMBERS[self._buffer] * powers))
        self._inverses = _powers(_INVERSE, len(self._buffer))

    def ngrams(self, length: int) -> Ngrams:
        """All runs of `length` words that lie within one text."""
        num = max(0, len(self._starts) - length + 1)
        first, last = np.arange(num), np.arange(num) + length - 1
        is_whole = self._texts[first] == self._texts[last]
        first, last = first[is_whole], last[is_whole]
        starts, stops, texts = self._starts[first], self._stops[last], self._texts[first]
        hashes = (self._sums[stops] - self._sums[starts]) * self._inverses[starts]
        return Ngrams(
            hashes ^ (hashes >> np.uint64(32)), texts, starts - self._begins[texts], stops - self._begins[texts]
        )


def batches(texts: Sequence[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Numbered texts in batches of about a million characters; a longer text comes in pieces."""
    batch: list[tuple[int, str]] = []
    size = 0
    for number, text in texts:
        for start in range(0, len(text), _BATCH_CHARACTERS):
            piece = text[start : start + _BATCH_CHARACTERS]
            if size + len(piece) > _BATCH_CHARACTERS and batch:
                yield batch
                batch, size = [], 0
            batch.append((number, piece))
            size += len(piece)
    if batch:
        yield batch


def _powers(base: int, count: int) -> npt.NDArray[np.uint64]:
    """1, base, base^2 and so on, modulo 2^64."""
    factors = np.full(count, base, np.uint64)
    factors[:1] = 1
    return np.cumprod(factors, dtype=np.uint64)
