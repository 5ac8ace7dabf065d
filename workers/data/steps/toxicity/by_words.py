"""Texts judged by a list of words: 1 for a text with one of them, 0 for any other.

A word is letters, digits and underscores between other characters, so lists for scripts without spaces do not work.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from luthier.spec.data.toxicity import WordsJudgeSpec
from workers.data.steps.toxicity.verdict import Verdict
from workers.failures import ConfigError

_KEY = "data.toxicity.classifier.path"
_MAX_BYTES = 1 << 24
_WORD = re.compile(r"\w+")
_CLEAN = Verdict(0.0, "no word of the list")


class WordsJudge:
    """A `Judge`."""

    def __init__(self, spec: WordsJudgeSpec) -> None:
        """
        Raises:
            ConfigError: the list cannot be read, or has no words.
        """
        entries = [_words(line) for line in _read(Path(spec.path)).splitlines() if not line.startswith("#")]
        self._phrases: dict[str, list[list[str]]] = {}
        """By first word."""
        for words in entries:
            if words:
                self._phrases.setdefault(words[0], []).append(words)
        if not self._phrases:
            raise ConfigError(f"{_KEY}: {spec.path} has no words; expected one per line")

    def __call__(self, texts: Sequence[str]) -> list[Verdict]:
        """See `Judge`."""
        return [self._verdict(_words(text)) for text in texts]

    def _verdict(self, words: list[str]) -> Verdict:
        if self._phrases.keys().isdisjoint(words):
            return _CLEAN
        for at, word in enumerate(words):
            for phrase in self._phrases.get(word, ()):
                if words[at : at + len(phrase)] == phrase:
                    return Verdict(1.0, f"the listed {' '.join(phrase)!r}")
        return _CLEAN


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{_KEY}: {path} has more than {_MAX_BYTES >> 20} MiB; give a list of words")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{_KEY}: cannot read {path}: {error.strerror}; give a text file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_KEY}: {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from error
