"""Records with a class, or a set of classes: a text or a conversation, which may end with any turn, and its labels.

A set is a list of names in `labels`, or in `label`; it may be empty, which says that no class applies. A record that
does not say which classes apply is no such record.
"""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Message, Notes, kind, read_list, read_text
from workers.data.shapes.messages import read_messages
from workers.data.shapes.tools import read_tools
from workers.data.shapes.turns import check_turns


def labelled_text(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A text and its class. Raises RowError."""
    return read_text(record, "text"), Notes(label=_class(record["label"]))


def labelled_chat(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A conversation and its class. Raises RowError."""
    return _conversation(record), Notes(label=_class(record["label"]), tools=read_tools(record))


def multi_labelled_text(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A text and its classes. Raises RowError."""
    return read_text(record, "text"), Notes(labels=_classes(record))


def multi_labelled_chat(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A conversation and its classes. Raises RowError."""
    return _conversation(record), Notes(labels=_classes(record), tools=read_tools(record))


def _conversation(record: Mapping[str, Any]) -> list[Message]:
    messages = read_messages(record["messages"], "messages").messages
    check_turns(messages)
    if not messages:
        raise RowError(problems.EMPTY, "messages is empty; expected at least one message")
    return messages


def _classes(record: Mapping[str, Any]) -> list[str]:
    """Sorted; a name that the record has twice is there twice.

    Raises:
        RowError: there is no list, or something in it is no name of a class.
    """
    column = "labels" if "labels" in record else "label"
    given = read_list(record[column], column, 'class names, such as ["a", "b"], or [] for a row of no class')
    if len(given) > 2 and all(value in (0, 1) for value in given):
        raise RowError(
            problems.WRONG_TYPE, f"{column} has 0 or 1 for each class; expected the names of those that apply"
        )
    return sorted(_name(label, f"{column}: entry {number}") for number, label in enumerate(given, start=1))


def _class(label: object) -> str:
    """Raises RowError: `label` is missing or no name of a class."""
    if isinstance(label, list):
        raise RowError(
            problems.WRONG_TYPE,
            "label is a list, and a row has one class here; for rows with any number of classes set "
            "objective.multi_label: true",
        )
    return _name(label, "label")


def _name(label: object, what: str) -> str:
    """As text: 1, "1", and the 1.0 that a column of whole numbers with gaps is written as, are the same class.

    Raises:
        RowError: it is no name of a class; `what` says where it stands.
    """
    if isinstance(label, bool):
        label = str(label).lower()
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int):
        raise RowError(problems.WRONG_TYPE, f"{what} is {kind(label)}; expected text, a whole number, true or false")
    name = str(label).strip()
    if not name:
        raise RowError(problems.EMPTY, f"{what} is empty; expected the name of a class")
    return name
