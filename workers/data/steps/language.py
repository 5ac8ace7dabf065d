"""Step `language`: which language a row teaches, told from the first characters of its answers.

By eldc, whose model of 60 languages comes with it: no download, and about the cost of parsing the row. Text that is too
short or too mixed to be sure of has no language.
"""

from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock

import eldc

from luthier.spec import DataSpec
from workers.data.row import Content, Row

_NUM_CHARACTERS = 400
_STARTING = Lock()


@cache
def languages() -> frozenset[str]:
    """ISO 639-1 codes of all languages that can be told."""
    # Files are read by several threads, and the library may be started but once.
    with _STARTING:
        try:
            eldc.detect("")
        except RuntimeError:
            eldc.init()
    return frozenset(eldc.LANGUAGES)


def identify(text: str) -> str | None:
    """ISO 639-1 code of the language of a text; None: it cannot be told."""
    languages()
    try:
        # To the C library a NUL is the end of the text.
        found = eldc.detect_details(text[:_NUM_CHARACTERS].replace("\x00", " "))
    except UnicodeEncodeError:
        return None
    return str(found.language) if found.reliable else None


def learned_text(content: Content) -> str:
    """What decides on the language: the text, or the answers; without answers, all messages."""
    if isinstance(content, str):
        return content
    answers = [message["content"] for message in content if message["role"] == "assistant"]
    return "\n".join(answers or [message["content"] for message in content])


def build(spec: DataSpec) -> Callable[[Sequence[Row]], None] | None:
    """The step, where the report, a rule or the split asks for languages."""
    is_rule = spec.filters is not None and spec.filters.languages is not None
    is_stratum = spec.split is not None and spec.split.stratify_by == "language"
    if not (spec.quality.report or is_rule or is_stratum):
        return None

    def language(rows: Sequence[Row]) -> None:
        for row in rows:
            row.language = identify(learned_text(row.content))

    return language
