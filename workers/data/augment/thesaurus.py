"""Synonyms from a MyThes file, the format in which LibreOffice's thesauri are published for some thirty languages.

The first line names the encoding. Then each entry is `word|N` and N lines `(part of speech)|synonym|synonym|...`. Of a
synonym `word (generic term)` the part in parentheses says how it is related; such ones are no synonyms.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from workers.failures import ConfigError

_MAX_BYTES = 1 << 28
_KEY = "data.augment.thesaurus"


class Thesaurus:
    """Words with their synonyms."""

    def __init__(self, synonyms: dict[str, tuple[str, ...]]) -> None:
        self._synonyms = synonyms

    @classmethod
    def read(cls, path: Path) -> "Thesaurus":
        """
        Raises:
            ConfigError: the file is missing, or not in the format.
        """
        try:
            if path.stat().st_size > _MAX_BYTES:
                raise ConfigError(f"{_KEY}: {path} has more than {_MAX_BYTES >> 20} MiB; give a smaller one")
            raw = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{_KEY}: cannot read {path}: {error.strerror}; give a MyThes .dat file") from error
        head, _, body = raw.partition(b"\n")
        try:
            encoding = codecs.lookup(head.decode("ascii").strip()).name
            text = body.decode(encoding)
        except (LookupError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{_KEY}: {path} is no MyThes file: its first line must name its encoding, such as UTF-8 ({error})"
            ) from error
        found = dict(_entries(text, path))
        if not found:
            raise ConfigError(f"{_KEY}: {path} has no word with a synonym; give a MyThes .dat file")
        return cls(found)

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Those of a word in lower case; none if it is not known."""
        return self._synonyms.get(word, ())


def _entries(text: str, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    lines = iter(enumerate(text.split("\n"), start=2))
    for number, line in lines:
        if not line.strip():
            continue
        word, _, count = line.strip().rpartition("|")
        if not word or not re.fullmatch("[0-9]{1,4}", count):
            raise ConfigError(f"{_KEY}: {path} line {number}: {line[:80]!r}; expected a word, | and a number")
        meanings = [next(lines, (0, ""))[1].split("|")[1:] for _ in range(int(count))]
        unique = dict.fromkeys(other for meaning in meanings for other in map(str.strip, meaning))
        usable = tuple(other for other in unique if other.isalpha() and other.lower() != word.lower())
        if word.isalpha() and usable:
            yield word.lower(), usable
