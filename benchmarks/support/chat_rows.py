"""Generated chats for benchmarks of preprocessing: real prose, mixed lengths, and copies of which every one is known.

The prose are the docstrings of Python's standard library, in other orders, with numbers, names and words of other
scripts put in, so that words repeat about as often as they do in real text. Rows have 100 to 400 tokens mostly.
"""

import ast
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_SHARE_EXACT, _SHARE_NEAR = 0.03, 0.03
_WINDOW = 2000
"""A copy is of one of so many rows before it."""
_FOREIGN = ("na\u00efve", "Gr\u00f6\u00dfe", "\u0434\u043e\u043c", "\u6f22\u5b57", "\U0001f600", "\u2014", "\u2116")
_TURNS = (1, 1, 1, 1, 1, 2, 2, 3)


@dataclass(frozen=True)
class ChatRow:
    """One row."""

    messages: list[dict[str, str]]
    kind: str
    """`original`, `exact` (white space differs) or `near` (one word in forty differs)."""


def write_rows(path: Path, num_rows: int, seed: int = 0) -> list[str]:
    """Writes `{"messages": [...]}` lines; returns the kind of each row."""
    kinds = []
    with path.open("w", encoding="utf-8") as stream:
        for row in generate(num_rows, seed):
            stream.write(json.dumps({"messages": row.messages}, ensure_ascii=False) + "\n")
            kinds.append(row.kind)
    return kinds


def generate(num_rows: int, seed: int) -> Iterator[ChatRow]:
    """Rows in an order in which a copy comes after what it is of."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    window: list[list[dict[str, str]]] = []
    for _ in range(num_rows):
        draw = chance.random()
        if window and draw < _SHARE_EXACT + _SHARE_NEAR:
            kind = "exact" if draw < _SHARE_EXACT else "near"
            source = chance.choice(window)
            change = _respaced if kind == "exact" else _edited
            yield ChatRow([{**message, "content": change(message["content"], chance)} for message in source], kind)
        else:
            messages = _chat(chance)
            window.append(messages)
            del window[:-_WINDOW]
            yield ChatRow(messages, "original")


def _chat(chance: random.Random) -> list[dict[str, str]]:
    messages = []
    if chance.random() < 0.3:
        messages.append({"role": "system", "content": _passage(chance, 1)})
    for _ in range(chance.choice(_TURNS)):
        messages.append({"role": "user", "content": _passage(chance, chance.choice((1, 1, 2)))})
        messages.append({"role": "assistant", "content": _passage(chance, chance.choice((1, 2, 3, 4)))})
    return messages


def _passage(chance: random.Random, num_paragraphs: int) -> str:
    return "\n\n".join(" ".join(_word(word, chance) for word in _paragraph(chance)) for _ in range(num_paragraphs))


def _paragraph(chance: random.Random) -> list[str]:
    return chance.choice(_prose()).split(" ")


def _word(word: str, chance: random.Random) -> str:
    draw = chance.random()
    if draw < 0.02:
        return str(chance.randint(0, 10 ** chance.randint(1, 7)))
    if draw < 0.035:
        return "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(4, 11)))
    return chance.choice(_FOREIGN) if draw < 0.04 else word


def _respaced(text: str, chance: random.Random) -> str:
    return text.replace(" ", "  ", 1) + " "


def _edited(text: str, chance: random.Random) -> str:
    words = text.split(" ")
    for _ in range(max(1, len(words) // 40)):
        words[chance.randrange(len(words))] = chance.choice(("changed", "other", "new", "different"))
    return " ".join(words)


@cache
def _prose() -> list[str]:
    """Paragraphs of 40 to 900 characters."""
    found = []
    library = Path(sysconfig.get_paths()["stdlib"])
    for file in sorted(library.rglob("*.py")):
        if not {"site-packages", "test", "tests", "idle_test", "lib2to3"} & set(file.parts):
            found += [part for text in _docstrings(file) for part in re.split(r"\n\s*\n", text)]
    tidy = (re.sub(r"[ \t]*\n[ \t]*", "\n", part.strip()) for part in found)
    return [part for part in tidy if 40 <= len(part) <= 900]


def _docstrings(file: Path) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    nodes: list[Any] = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for node in nodes if (text := ast.get_docstring(node))]
