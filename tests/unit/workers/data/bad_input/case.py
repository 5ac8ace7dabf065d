"""One bad input: how it is made, and what is to become of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luthier.spec import ObjectiveSpec, SftSpec
from workers.data.places import Remote
from workers.failures import DataError

GOOD = b'{"prompt": "a", "completion": "b"}\n'
GOODS = b"".join(b'{"prompt": "question %d", "completion": "answer"}\n' % number for number in range(3))
USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "world"}
PAIR = {"prompt": "hello", "completion": "world"}

_SFT, _NOWHERE = SftSpec(), Remote()

Make = Callable[[Path], Path | str]
"""Writes it into a folder and returns what the job file says."""


@dataclass(frozen=True)
class Case:
    """One bad input."""

    name: str
    make: Make
    says: str = ""
    """Pattern of the refusal; empty: it is no reason for one."""
    kind: type[Exception] = DataError
    """Of the refusal."""
    dropped: Mapping[str, int] | None = None
    """Rows by reason where bad ones may be left out; None: it is refused there, too."""
    kept: int = 0
    repaired: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    objective: ObjectiveSpec = _SFT
    template: str | None = None
    """Takes the place of the tokenizer's; empty: it has none."""
    remote: Remote = _NOWHERE


def bad_row(name: str, make: Make, reason: str, says: str, objective: ObjectiveSpec = _SFT, *, kept: int = 1) -> Case:
    """The second row, which may be left out, and then `kept` are left."""
    return Case(name, make, f"line 2: {reason}: {says}", dropped={reason: 1}, kept=kept, objective=objective)


def content(raw: bytes, name: str = "rows.jsonl") -> Make:
    """A file with these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(raw)
        return folder / name

    return make


def second(line: bytes) -> Make:
    """A good row, then this line."""
    return content(GOOD + line + b"\n")


def rows(*values: Any) -> Make:
    """JSON Lines."""
    return content(b"".join(json.dumps(value).encode() + b"\n" for value in values))


def chat(*messages: Any) -> Make:
    """A good conversation, then this one."""
    return rows({"messages": [USER, ANSWER]}, {"messages": list(messages)})
