"""A row in the form that all shapes become, and how the parts of a record are read.

Strict on purpose: a key of a message that would change what is learned (`tool_calls`) is refused, never dropped in
silence.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workers.data import problems
from workers.data.problems import RowError

Message = dict[str, str]
Content = list[Message] | str
"""A conversation, or plain text."""

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Notes:
    """What a record says beside its text."""

    weights: list[float] | None = None
    """What each answer of the assistant counts; None: 1 each."""
    rejected: str | None = None
    """An answer that is worse than the last one; None: the row compares nothing."""
    label: str | None = None
    """What kind of row it is; None: the record does not say."""


@dataclass
class Row:
    """A row on its way through the steps, which may change it, or drop it by an `error`."""

    content: Content
    notes: Notes
    error: RowError | None = None
    """Why it is dropped; None: it stays."""
    repairs: list[tuple[str, str]] = field(default_factory=list)
    """What was mended: which kind of repair, and what it did to this row."""
    language: str | None = None
    """ISO 639-1 code; None: nobody looked."""


def read_messages(value: object, name: str) -> list[Message]:
    """The conversation in the column `name`; who speaks when is not looked at.

    Raises:
        RowError: it is not a list of {role, content}.
    """
    if not isinstance(value, list):
        raise RowError(problems.WRONG_TYPE, f"{name} is {kind(value)}; expected a list of {{role, content}}")
    return [_message(index, row) for index, row in enumerate(value, start=1)]


def read_text(record: Mapping[str, Any], name: str, *, may_be_empty: bool = False, where: str = "") -> str:
    """The text in the column `name`.

    Raises:
        RowError: it is not text, or it is empty.
    """
    value = record.get(name)
    if not isinstance(value, str):
        raise RowError(problems.WRONG_TYPE, f"{where}{name} is {kind(value)}; expected text")
    if not may_be_empty and not value.strip():
        raise RowError(problems.EMPTY, f"{where}{name} is empty; expected text")
    return value


def exchange(prompt: str, answer: str) -> list[Message]:
    """One question, one answer."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def check_roles(messages: Sequence[Message]) -> None:
    """
    Raises:
        RowError: user and assistant do not take turns, or the assistant does not have the last word.
    """
    turns = check_turns(messages)
    if not turns or turns[-1] != "assistant":
        last = messages[-1]["role"] if messages else "missing"
        raise RowError(problems.WRONG_ROLES, f"the last message is {last}; expected an answer of the assistant")


def check_turns(messages: Sequence[Message]) -> list[str]:
    """Who speaks, without the system message.

    Raises:
        RowError: user and assistant do not take turns.
    """
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    first = len(roles) - len(turns) + 1
    for index, role in enumerate(turns):
        expected = ("user", "assistant")[index % 2]
        if role != expected:
            rule = "system may only come first, then user and assistant take turns"
            raise RowError(problems.WRONG_ROLES, f"message {first + index} is {role}, expected {expected}: {rule}")
    return turns


def kind(value: object) -> str:
    """What a JSON value is, for a person."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _message(index: int, row: object) -> Message:
    if not isinstance(row, dict):
        raise RowError(problems.WRONG_TYPE, f"message {index} is {kind(row)}; expected {{role, content}}")
    known = ("role", "content", "weight")
    unknown = sorted(repr(key) for key, value in row.items() if key not in known and value is not None)
    if unknown:
        raise RowError(problems.WRONG_COLUMNS, f"message {index} has {', '.join(unknown)}; expected role and content")
    role = row.get("role")
    if role not in _ROLES:
        raise RowError(problems.WRONG_ROLES, f"message {index} has role {role!r}; expected {', '.join(_ROLES)}")
    where = f"message {index} ({role}): "
    _check_weight(row.get("weight"), role, where)
    return {"role": role, "content": read_text(row, "content", may_be_empty=role == "system", where=where)}


def _check_weight(weight: object, role: str, where: str) -> None:
    if weight is None:
        return
    if role != "assistant":
        raise RowError(problems.WRONG_COLUMNS, f"{where}has a weight; only answers of the assistant are trained on")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise RowError(problems.WRONG_TYPE, f"{where}weight is {kind(weight)}; expected a number")
    if not 0.0 <= weight < math.inf:
        raise RowError(problems.WRONG_TYPE, f"{where}weight is {weight}; expected 0 or a positive number")
