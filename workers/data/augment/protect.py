"""What nobody may change in a text: code, JSON, links, placeholders, marks and whatever else is no plain word."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Every repeat either has a bound or ends at what it begins with: the time is linear in the text.
_PROTECTED = re.compile(
    r"""
      ```.*?(?:```|\Z)                      # fenced code, to the end if the fence stays open
    | ~~~.*?(?:~~~|\Z)
    | `[^`\n]+`                             # code within a line
    | ^(?:[ ]{4}|\t)[^\n]*                  # indented code
    | <[^<>\n]+>                            # tags, control tokens, <PLACEHOLDER>
    | \{\{[^{}]*\}\} | \{%[^{}]*%\} | \$?\{[^{}\n]*\}
    | \[[A-Z][A-Z0-9_ ]*\]                  # [NAME]
    | [a-z][a-z0-9+.-]{1,15}://\S+ | www\.\S+  # links
    | \S{1,64}@\S+                          # e-mail addresses
    | %\(\w+\)[sdif] | %[sdif]\b            # format fields
    | [@\#$]\w+
    | (?:\.{0,2}/)?(?:[\w.-]{1,64}/)+[\w.-]*  # paths
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_JOINT = re.compile(r"[_\-0-9]|\.(?=\w)")
_MIN_LETTERS = 4
_MAX_FAILURES = 50
"""Brackets that begin no JSON, after which nobody looks for it any more: a text of brackets must not take minutes."""
_BRACKET = re.compile(r"[{\[]")
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class Word:
    """A plain word and where it stands."""

    start: int
    text: str

    @property
    def end(self) -> int:
        """Behind its last letter."""
        return self.start + len(self.text)


def protected_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of what must stay as it is, in order, without overlap."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted([*_json_spans(text), *(match.span() for match in _PROTECTED.finditer(text))]):
        if spans and start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def plain_words(text: str) -> list[Word]:
    """The words that may be changed: four letters or more, outside `protected_spans`, no acronym, no part of a name
    such as `snake_case`, `v2` or `well-known`."""
    spans = protected_spans(text)
    words = []
    number = 0
    for match in _WORD.finditer(text):
        while number < len(spans) and spans[number][1] <= match.start():
            number += 1
        is_inside = number < len(spans) and spans[number][0] < match.end()
        if not is_inside and _is_plain(text, match):
            words.append(Word(match.start(), match.group()))
    return words


def _is_plain(text: str, match: re.Match[str]) -> bool:
    word = match.group()
    # A full stop ends a sentence unless something follows at once.
    is_joined = any(_JOINT.match(text, place) for place in (match.start() - 1, match.end()) if place >= 0)
    has_inner_capital = word[1:] != word[1:].lower()
    return len(word) >= _MIN_LETTERS and not (is_joined or has_inner_capital)


def _json_spans(text: str) -> Iterator[tuple[int, int]]:
    """Objects and lists of JSON that are longer than a word in brackets."""
    start = num_failures = 0
    while num_failures < _MAX_FAILURES and (match := _BRACKET.search(text, start)) is not None:
        start = match.start() + 1
        try:
            _, end = _JSON.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            num_failures += 1
            continue
        yield match.start(), end
        start = end
