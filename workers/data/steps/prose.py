"""Which parts of a text are prose, and which are code that nobody may reformat.

Code is what stands between fences (CommonMark, section 4.5), and a text that is JSON, or that looks like a program from
its lines. An own heuristic, because guessing languages by a model costs more than all the cleaning.
"""

import json
import re
from collections.abc import Callable

FENCE = re.compile(
    r"^[ \t]*(?P<mark>`{3,}+|~{3,}+)[^\n]*+\n.*?(?:^[ \t]*(?P=mark)[`~]*[ \t\r]*$|\Z)", re.MULTILINE | re.DOTALL
)
"""A block between fences, or from a fence to the end of the text."""

_NUM_LINES = 200
_MIN_SHARE = 0.4
_ENDS = (";", "{", "}")
_START = re.compile(
    r"""
    \s*+(?:
        (?:def|class|import|return|function|const|let|var|public|private|static|package|func|fn|impl|struct)\s+[\w(*{]
        | from\s+\S+\s+import\s | (?:if|for|while|elif|switch)\b.*[:{]\s*$ | (?:else|try|do|finally)\s*[:{]
        | \#include | \#! | <\?php | // | /\* | \*/ | @\w+\s*$ | \$\s    # directives and comments
        | (?:SELECT|INSERT|UPDATE|DELETE|CREATE|FROM|WHERE|JOIN)\s       # SQL
        | [\w.\[\]"']+\s*(?::=|[-+*/]?=)\s*\S                           # an assignment
        | [\w.]+\(.*\)\s*$                                             # a call
        | </?[\w-]++[^<>]*+>\s*$                                        # a tag of its own
    )
    """,
    re.VERBOSE,
)


def map_prose(text: str, change: Callable[[str], str]) -> str:
    """`text` with `change` made to every stretch outside fences."""
    pieces = []
    start = 0
    for fence in FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        pieces += [change(text[start : fence.start()]), fence.group()]
        start = fence.end()
    return "".join([*pieces, change(text[start:])])


def is_json(text: str) -> bool:
    """Whether the whole text is a JSON object or list."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def is_code(text: str) -> bool:
    """Whether the text is JSON, or two in five of its lines outside fences look like a program's."""
    if is_json(text):
        return True
    outside = FENCE.sub("", text) if "```" in text or "~~~" in text else text
    lines = [line for line in outside.splitlines()[:_NUM_LINES] if line.strip()]
    return bool(lines) and sum(map(_is_code_line, lines)) >= _MIN_SHARE * len(lines)


def _is_code_line(line: str) -> bool:
    return line.rstrip().endswith(_ENDS) or bool(_START.match(line))
