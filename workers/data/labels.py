"""Records with a label of a class: a text or a conversation, which may end with any turn, and `label`."""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Notes, check_turns, kind, read_messages


def labelled_chat(record: Mapping[str, Any]) -> Content:
    """The conversation. Raises RowError."""
    messages = read_messages(record["messages"], "messages")
    check_turns(messages)
    if not messages:
        raise RowError(problems.EMPTY, "messages is empty; expected at least one message")
    return messages


def class_note(record: Mapping[str, Any]) -> Notes:
    """The class, as text: 1 and "1" are the same one.

    Raises:
        RowError: `label` is missing or no name of a class.
    """
    label = record["label"]
    if isinstance(label, bool):
        label = str(label).lower()
    if not isinstance(label, str | int):
        raise RowError(problems.WRONG_TYPE, f"label is {kind(label)}; expected text, a whole number, true or false")
    name = str(label).strip()
    if not name:
        raise RowError(problems.EMPTY, "label is empty; expected the name of a class")
    return Notes(label=name)
