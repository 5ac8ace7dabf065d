"""All texts of a row, for the steps that look into each or change each: messages, arguments, rejected answers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from workers.data.row import Row

_NAMES = frozenset({"role", "type", "id", "name", "tool_call_id"})
"""Keys of a message whose values are no text of anybody."""


def texts_of(row: Row) -> list[str]:
    """In the order in which `change_texts` goes through them."""
    notes = (text for text in (row.notes.rejected, row.notes.tools) if text is not None)
    return [*strings(row.content, _NAMES), *notes]


def change_texts(row: Row, change: Callable[[str], str]) -> None:
    """Puts what `change` makes of each text in its place."""
    row.content = _changed(row.content, change)
    rejected, tools = (text and change(text) for text in (row.notes.rejected, row.notes.tools))
    if (rejected, tools) != (row.notes.rejected, row.notes.tools):
        row.notes = replace(row.notes, rejected=rejected, tools=tools)


def strings(value: Any, names: frozenset[str]) -> Iterator[str]:
    """Every string in a JSON value, in order, but for the values of the keys `names`."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, names)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in names:
                yield from strings(inner, names)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(inner, change) for inner in value]
    if isinstance(value, dict):
        return {key: inner if key in _NAMES else _changed(inner, change) for key, inner in value.items()}
    return value
