"""`data.repair`: faults in the turns of a conversation, mended in the record before anything is made of it.

Weights and other keys of a message go with it. What cannot be mended here is a fault of the row, as without `repair`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from luthier.spec.data import RepairSpec
from workers.data.problems import RowError
from workers.data.row import Repair, read_list
from workers.data.shapes.messages import ROLES
from workers.data.shapes.shape import Shape

_COLUMNS = ("messages", "conversations")
_TEXT_KEYS = ("content", "value")
_MERGEABLE = {"role", "from", "content", "value", "weight", "train"}
_WHAT_COUNTS = ("weight", "train")

Repairs = list[Repair]
_Messages = list[dict[str, Any]]


def repair_turns(record: Mapping[str, Any], shape: Shape, spec: RepairSpec, repairs: Repairs) -> Mapping[str, Any]:
    """The record with what `spec` mends in its messages; what was mended is added to `repairs`.

    A list that holds anything but messages is left alone: the shape says what is wrong with it.
    """
    column = next((name for name in _COLUMNS if name in shape.required), None)
    if column is None:
        return record
    try:
        given = read_list(record[column], column, "messages")
    except RowError:
        return record
    if not all(isinstance(message, dict) for message in given):
        return record
    messages: _Messages = given
    if spec.empty_system:
        messages = _drop_empty_system(messages, repairs)
    if spec.merge_turns:
        messages = _merge(messages, repairs)
    if spec.leading_assistant:
        messages = _drop_leading(messages, repairs)
    if spec.trailing_user and shape.ends_with_answer:
        messages = _drop_trailing(messages, repairs)
    return record if messages is given else {**record, column: messages}


def _drop_empty_system(messages: _Messages, repairs: Repairs) -> _Messages:
    kept = [message for message in messages if _role(message) != "system" or not _is_empty(message)]
    if len(kept) == len(messages):
        return messages
    repairs.append(Repair("empty system message", f"{len(messages) - len(kept)} removed"))
    return kept


def _merge(messages: _Messages, repairs: Repairs) -> _Messages:
    runs: list[_Messages] = []
    for message in messages:
        if runs and _may_merge(runs[-1][-1], message):
            runs[-1].append(message)
        else:
            runs.append([message])
    if len(runs) == len(messages):
        return messages
    repairs.append(Repair("merged turns", f"{len(messages)} messages became {len(runs)}"))
    return [run[0] if len(run) == 1 else _joined(run) for run in runs]


def _joined(run: _Messages) -> dict[str, Any]:
    texts = [message[key] for message in run for key in _TEXT_KEYS if message.get(key) is not None]
    return {**{key: value for key, value in run[0].items() if key != "value"}, "content": "\n\n".join(texts)}


def _may_merge(first: dict[str, Any], second: dict[str, Any]) -> bool:
    is_plain = all(
        not _is_empty(message)
        and all(key in _MERGEABLE or value is None for key, value in message.items())
        and isinstance(_text(message), str)
        for message in (first, second)
    )
    counts_alike = all(first.get(key) == second.get(key) for key in _WHAT_COUNTS)
    return (
        is_plain and counts_alike and _role(first) == _role(second) and _role(first) in ("system", "user", "assistant")
    )


def _drop_leading(messages: _Messages, repairs: Repairs) -> _Messages:
    start = 1 if messages and _role(messages[0]) == "system" else 0
    end = start
    while end < len(messages) and _role(messages[end]) == "assistant" and not messages[end].get("tool_calls"):
        end += 1
    # Without any question nothing would be left; that is for a person to mend.
    if end == start or end == len(messages):
        return messages
    repairs.append(Repair("leading answer", f"{_quoted(messages[start:end])} removed"))
    return messages[:start] + messages[end:]


def _drop_trailing(messages: _Messages, repairs: Repairs) -> _Messages:
    end = len(messages)
    while end and _role(messages[end - 1]) == "user":
        end -= 1
    if end == len(messages) or not any(_role(message) == "assistant" for message in messages[:end]):
        return messages
    repairs.append(Repair("trailing question", f"{_quoted(messages[end:])} removed"))
    return messages[:end]


def _role(message: Mapping[str, Any]) -> str | None:
    role = message.get("role", message.get("from"))
    return ROLES.get(role.strip().lower()) if isinstance(role, str) else None


def _text(message: Mapping[str, Any]) -> object:
    return next((message[key] for key in _TEXT_KEYS if message.get(key) is not None), None)


def _is_empty(message: Mapping[str, Any]) -> bool:
    text = _text(message)
    return text is None or (isinstance(text, str) and not text.strip())


def _quoted(messages: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(repr(str(_text(message))[:40]) for message in messages)
