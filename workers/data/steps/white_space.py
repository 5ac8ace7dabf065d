"""White space that nobody sees: line ends, spaces at the end of a line, blank lines in a row. Indentation stays."""

import re

from workers.data.steps.prose import is_code, map_prose

SUSPECT_WHITE_SPACE = r"\r|[ \t]\n|\n\n\n|[ \t\n]\z|\A\n|[\x{85}\x{2028}\x{2029}]"
"""What to look for (RE2): without it the text stays as it is."""

_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
_TRAILING = re.compile(r"(?<![ \t])[ \t]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")
_LEADING = re.compile(r"\A(?:[ \t]*\n)+")


def tidy_white_space(text: str) -> str:
    """Line ends become LF everywhere; the rest is done to prose alone."""
    text = _LINE_ENDS.sub("\n", text)
    if is_code(text):
        return text
    text = _LEADING.sub("", map_prose(text, _tidy))
    return text.rstrip(" \t\n") if text.endswith((" ", "\t", "\n")) else text


def _tidy(prose: str) -> str:
    return _BLANK_LINES.sub("\n\n", _TRAILING.sub("", prose))
