"""Texts that are JSON, taken apart into their values and put together again, so that they stay JSON.

What is not changed stays as it is written: white space, order, the spelling of numbers.
"""

import json
import re
from collections.abc import Sequence

_VALUE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*')


def pieces_of(text: str) -> list[str]:
    """The strings and numbers of a text that is a JSON object or list; of another one, the text itself."""
    if not _is_json(text):
        return [text]
    return [_decoded(value) for value in _VALUE.findall(text)]


def with_pieces(text: str, pieces: Sequence[str]) -> str:
    """`text` with other `pieces`, as many as it has. A number that is changed becomes a string."""
    if not _is_json(text):
        (whole,) = pieces
        return whole
    rest = iter(pieces)

    def written(match: re.Match[str]) -> str:
        piece = next(rest)
        return match[0] if piece == _decoded(match[0]) else json.dumps(piece, ensure_ascii=text.isascii())

    return _VALUE.sub(written, text)


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _decoded(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value
