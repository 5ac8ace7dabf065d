"""The shapes of a row, and how each becomes a conversation or a text. A new shape is one row in `SHAPES`.

Strict on purpose: a key of a message that would change what is learned (`tool_calls`) is refused, never dropped in
silence. Further columns of a row are left alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Shape:
    """One way to write a row."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    convert: Callable[[Mapping[str, Any]], Content]
    """From a record that has the required columns. Raises RowError."""
    annotate: Callable[[Mapping[str, Any]], Notes] = lambda _: Notes()
    """From a record that `convert` took. Raises RowError."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it reads."""
        return self.required + self.optional

    @property
    def expected(self) -> str:
        """The columns, for a person."""
        return " + ".join(self.required) + "".join(f" (+ {name})" for name in self.optional)


def detect(columns: Sequence[str]) -> str:
    """Key of the one shape in `SHAPES` whose required columns are all there.

    Raises:
        ValueError: none or several fit; says what was found and what is expected.
    """
    fitting = [name for name, shape in SHAPES.items() if set(shape.required) <= set(columns)]
    if len(fitting) == 1:
        return fitting[0]
    found = f"columns found: {', '.join(columns) or 'none'}"
    if fitting:
        raise ValueError(f"{found}; they fit {' and '.join(fitting)}; set data.format to one of them")
    expected = "; ".join(f"{shape.expected} ({name})" for name, shape in SHAPES.items())
    raise ValueError(f"{found}; expected one of: {expected}")


def convert(record: object, shape: Shape, system_prompt: str | None) -> Content:
    """The conversation or text of one record, with `system_prompt` put before a conversation that has none.

    Raises:
        RowError: the record does not fit the shape.
    """
    if not isinstance(record, dict):
        raise RowError(problems.WRONG_TYPE, f"{_kind(record)}; expected a JSON object")
    missing = [name for name in shape.required if name not in record]
    if missing:
        raise RowError(
            problems.WRONG_COLUMNS,
            f"no {' and no '.join(missing)}; found {', '.join(map(repr, record)) or 'none'}, expected {shape.expected}",
        )
    content = shape.convert(record)
    if system_prompt is not None and isinstance(content, list) and content[0]["role"] != "system":
        return [{"role": "system", "content": system_prompt}, *content]
    return content


def _from_chat(record: Mapping[str, Any]) -> Content:
    rows = record["messages"]
    if not isinstance(rows, list):
        raise RowError(problems.WRONG_TYPE, f"messages is {_kind(rows)}; expected a list of {{role, content}}")
    messages = [_message(index, row) for index, row in enumerate(rows, start=1)]
    _check_roles([message["role"] for message in messages])
    return messages


def _weights(record: Mapping[str, Any]) -> Notes:
    given = [row.get("weight") for row in record["messages"] if row["role"] == "assistant"]
    weights = [1.0 if weight is None else float(weight) for weight in given]
    return Notes(weights if any(weight != 1.0 for weight in weights) else None)


def _from_pair(record: Mapping[str, Any]) -> Content:
    return _exchange(_text(record, "prompt"), _text(record, "completion"))


def _from_alpaca(record: Mapping[str, Any]) -> Content:
    instruction = _text(record, "instruction")
    if record.get("input") is not None:
        extra = _text(record, "input", may_be_empty=True)
        if extra.strip():
            instruction = f"{instruction}\n\n{extra}"
    return _exchange(instruction, _text(record, "output"))


def _from_text(record: Mapping[str, Any]) -> Content:
    return _text(record, "text")


def _exchange(prompt: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def _text(record: Mapping[str, Any], name: str, *, may_be_empty: bool = False, where: str = "") -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise RowError(problems.WRONG_TYPE, f"{where}{name} is {_kind(value)}; expected text")
    if not may_be_empty and not value.strip():
        raise RowError(problems.EMPTY, f"{where}{name} is empty; expected text")
    return value


def _message(index: int, row: object) -> Message:
    if not isinstance(row, dict):
        raise RowError(problems.WRONG_TYPE, f"message {index} is {_kind(row)}; expected {{role, content}}")
    known = ("role", "content", "weight")
    unknown = sorted(repr(key) for key, value in row.items() if key not in known and value is not None)
    if unknown:
        raise RowError(problems.WRONG_COLUMNS, f"message {index} has {', '.join(unknown)}; expected role and content")
    role = row.get("role")
    if role not in _ROLES:
        raise RowError(problems.WRONG_ROLES, f"message {index} has role {role!r}; expected {', '.join(_ROLES)}")
    where = f"message {index} ({role}): "
    _check_weight(row.get("weight"), role, where)
    return {"role": role, "content": _text(row, "content", may_be_empty=role == "system", where=where)}


def _check_weight(weight: object, role: str, where: str) -> None:
    if weight is None:
        return
    if role != "assistant":
        raise RowError(problems.WRONG_COLUMNS, f"{where}has a weight; only answers of the assistant are trained on")
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        raise RowError(problems.WRONG_TYPE, f"{where}weight is {_kind(weight)}; expected a number")
    if not 0.0 <= weight < math.inf:
        raise RowError(problems.WRONG_TYPE, f"{where}weight is {weight}; expected 0 or a positive number")


def _check_roles(roles: list[str]) -> None:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    first = len(roles) - len(turns) + 1
    for index, role in enumerate(turns):
        expected = ("user", "assistant")[index % 2]
        if role != expected:
            rule = "system may only come first, then user and assistant take turns"
            raise RowError(problems.WRONG_ROLES, f"message {first + index} is {role}, expected {expected}: {rule}")
    if not turns or turns[-1] != "assistant":
        last = roles[-1] if roles else "missing"
        raise RowError(problems.WRONG_ROLES, f"the last message is {last}; expected an answer of the assistant")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


SHAPES: dict[str, Shape] = {
    "chat": Shape(("messages",), (), _from_chat, _weights),
    "prompt_completion": Shape(("prompt", "completion"), (), _from_pair),
    "alpaca": Shape(("instruction", "output"), ("input",), _from_alpaca),
    "text": Shape(("text",), (), _from_text),
}
