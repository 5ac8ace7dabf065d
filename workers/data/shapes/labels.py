"""Records with a label of a class: a text or a conversation, which may end with any turn, and `label`."""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Notes, kind, read_text
from workers.data.shapes.messages import read_messages
from workers.data.shapes.tools import read_tools
from workers.data.shapes.turns import check_turns


def labelled_text(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A text and its class. Raises RowError."""
    return read_text(record, "text"), Notes(label=_class(record["label"]))


def labelled_chat(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A conversation and its class. Raises RowError."""
    messages = read_messages(record["messages"], "messages").messages
    check_turns(messages)
    if not messages:
        raise RowError(problems.EMPTY, "messages is empty; expected at least one message")
    return messages, Notes(label=_class(record["label"]), tools=read_tools(record))


def _class(label: object) -> str:
    """As text: 1 and "1" are the same one.

    Raises:
        RowError: `label` is missing or no name of a class.
    """
    if isinstance(label, bool):
        label = str(label).lower()
    if isinstance(label, list):
        raise RowError(
            problems.WRONG_TYPE,
            "label is a list, and a row has one class here: train one model per label, with true or false in label, or "
            "make each set of labels a class of its own",
        )
    if not isinstance(label, str | int):
        raise RowError(problems.WRONG_TYPE, f"label is {kind(label)}; expected text, a whole number, true or false")
    name = str(label).strip()
    if not name:
        raise RowError(problems.EMPTY, "label is empty; expected the name of a class")
    return name
