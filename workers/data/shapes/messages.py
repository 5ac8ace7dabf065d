"""Messages as people write them, in one form. Who speaks when is the matter of `turns.py`.

Strict on purpose: a key of a message that would change what is learned is refused, never dropped in silence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Message, kind, read_list, read_text
from workers.data.shapes.tools import parse_calls, read_calls

_CALL = "function_call"
ROLES: dict[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    _CALL: _CALL,
    "tool_call": _CALL,
}
"""Names of roles, and what they are here. A message of `function_call` is an assistant's whose text is the calls."""
_KNOWN = ("system", "user", "assistant", "tool")
_PLAIN_KEYS, _PLAIN_ROLES = {"role", "content"}, frozenset(("system", "user", "assistant"))
_MAX_WEIGHT = 1_000_000
"""Of an answer; a larger one would leave nothing of the others, or nothing of any in 32 bits."""
_OF_ALL = frozenset(("role", "content", "weight", "train"))
_OTHER_NAMES = {"from": "role", "value": "content", "reasoning": "reasoning_content", "thinking": "reasoning_content"}
_KEYS = frozenset((*_OF_ALL, *_OTHER_NAMES, "tool_calls", "function_call", "tool_call_id", "name", "reasoning_content"))


@dataclass(frozen=True)
class Conversation:
    """Messages, and what the answers among them count."""

    messages: list[Message]
    weights: list[float] | None = None
    """One per answer of the assistant; None: 1 each."""


def read_messages(value: object, name: str) -> Conversation:
    """The conversation in the column `name`: a list, or JSON text of one.

    Raises:
        RowError: it is not a list of {role, content}.
    """
    rows = read_list(value, name, "{role, content}")
    messages: list[Message] = []
    weights: list[float] = []
    for number, row in enumerate(rows, start=1):
        message, weight = _plain(row) or _message(number, row)
        messages.append(message)
        if message["role"] == "assistant":
            weights.append(weight)
    return Conversation(messages, weights if any(weight != 1.0 for weight in weights) else None)


def _plain(row: object) -> tuple[Message, float] | None:
    """The message, if there is nothing to it but a role and a text."""
    if not isinstance(row, dict) or row.keys() != _PLAIN_KEYS:
        return None
    role, content = row["role"], row["content"]
    if not isinstance(role, str) or role not in _PLAIN_ROLES or not isinstance(content, str):
        return None
    return ({"role": role, "content": content}, 1.0) if content and not content.isspace() else None


def _message(number: int, row: object) -> tuple[Message, float]:
    where = f"message {number}"
    if not isinstance(row, dict):
        raise RowError(problems.WRONG_TYPE, f"{where} is {kind(row)}; expected {{role, content}}")
    given = _known(row, where)
    role = _role(given.get("role"), where)
    where = f"{where} ({role}): "
    foreign = sorted(map(repr, given.keys() - _OF_ALL - _EXTRAS[role].keys()))
    if foreign:
        raise RowError(problems.WRONG_COLUMNS, f"{where}has {', '.join(foreign)}, which is for another role")
    if role == _CALL:
        calls = parse_calls(read_text(given, "content", where=where), where)
        return {"role": "assistant", "content": "", "tool_calls": calls}, _weight(given, "assistant", where)
    extras = {key: read(given[key], where) for key, read in _EXTRAS[role].items() if key in given}
    extras = {key: value for key, value in extras.items() if value}
    content = _content(given, where, may_be_empty=role in ("system", "tool") or "tool_calls" in extras)
    return {"role": role, "content": content, **extras}, _weight(given, role, where)


def _known(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What the message says, under the names that are used here."""
    said = {key: value for key, value in row.items() if value is not None}
    unknown = sorted(map(repr, said.keys() - _KEYS))
    if unknown:
        raise RowError(problems.WRONG_COLUMNS, f"{where} has {', '.join(unknown)}; expected role and content")
    given: dict[str, Any] = {}
    for key, value in said.items():
        name = _OTHER_NAMES.get(key, key)
        if name in given and given[name] != value:
            raise RowError(problems.WRONG_COLUMNS, f"{where} says {name} twice, also as {key!r}; expected it once")
        given[name] = value
    if call := given.pop("function_call", None):
        given.setdefault("tool_calls", [call])
    return given


def _role(value: object, where: str) -> str:
    role = ROLES.get(value.strip().lower()) if isinstance(value, str) else None
    if role is None:
        raise RowError(problems.WRONG_ROLES, f"{where} has role {value!r}; expected {', '.join(_KNOWN)}")
    return role


def _content(given: Mapping[str, Any], where: str, *, may_be_empty: bool) -> str:
    """The text, of which a list has the parts."""
    content = given.get("content")
    if content is None and may_be_empty:
        return ""
    if isinstance(content, list):
        text = "".join(_part(number, part, where) for number, part in enumerate(content, start=1))
        given = {"content": text}
    return read_text(given, "content", may_be_empty=may_be_empty, where=where)


def _part(number: int, part: object, where: str) -> str:
    where = f"{where}content is a list, whose part {number} "
    if not isinstance(part, dict):
        raise RowError(problems.WRONG_TYPE, f"{where}is {kind(part)}; expected {{type: text, text}}")
    if part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise RowError(problems.WRONG_TYPE, f"{where}is of type {part.get('type')!r}; expected text alone")
    if part.get("train") is not None:
        raise RowError(
            problems.WRONG_COLUMNS,
            f"{where}has 'train'; give the whole message a weight, or the row as segments of {{label, text}}",
        )
    return str(part["text"])


def _weight(given: Mapping[str, Any], role: str, where: str) -> float:
    """What the answer counts."""
    weight, train = given.get("weight"), given.get("train")
    if train is not None and not isinstance(train, bool):
        raise RowError(problems.WRONG_TYPE, f"{where}train is {kind(train)}; expected true or false")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
        raise RowError(problems.WRONG_TYPE, f"{where}weight is {kind(weight)}; expected a number")
    if weight is not None and not 0.0 <= weight <= _MAX_WEIGHT:
        shown = f"{weight:.40}" if isinstance(weight, float) else str(weight)[:40]
        raise RowError(
            problems.WRONG_TYPE, f"{where}weight is {shown}; expected 0 or a positive number, {_MAX_WEIGHT:,} at most"
        )
    if train is not None and weight is not None and train != (weight > 0):
        raise RowError(problems.WRONG_COLUMNS, f"{where}train and weight contradict each other; give one of them")
    if role != "assistant" and (train or weight):
        raise RowError(problems.WRONG_COLUMNS, f"{where}has a weight; only answers of the assistant are trained on")
    return float(weight) if weight is not None else float(train is not False)


def _text(name: str) -> Callable[[object, str], str]:
    return lambda value, where: read_text({name: value}, name, may_be_empty=True, where=where)


def _id(value: object, where: str) -> str:
    if not isinstance(value, str | int):
        raise RowError(problems.WRONG_TYPE, f"{where}tool_call_id is {kind(value)}; expected text")
    return str(value)


_EXTRAS: dict[str, dict[str, Callable[[Any, str], Any]]] = {
    "system": {},
    "user": {},
    "assistant": {"reasoning_content": _text("reasoning_content"), "tool_calls": read_calls},
    "tool": {"tool_call_id": _id, "name": _text("name")},
    _CALL: {},
}
"""By role, the keys that a message may have besides, and how each is read; an empty one is as good as none."""
