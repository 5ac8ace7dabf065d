"""What a file calls its columns, the keys of its messages and its roles, where the job file says so."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MESSAGE_COLUMNS = (
    "messages",
    "conversations",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "input",
    "preferred_output",
    "non_preferred_output",
)
"""Columns in which there may be messages."""


@dataclass(frozen=True)
class Names:
    """From our names to those of a file; what is not there is called as here."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    """None: the file has no such column, whatever it calls its own."""
    message_keys: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def ours(self, columns: Sequence[str]) -> list[str]:
        """What columns of the file are called here."""
        back = {theirs: ours for ours, theirs in self.columns.items()}
        return [back.get(name, name) for name in columns if name in back or name not in self.columns]

    def theirs(self, columns: Sequence[str]) -> list[str]:
        """What columns are called in the file."""
        given = [self.columns.get(name, name) for name in columns]
        return [name for name in given if name is not None]

    def record(self, record: Any) -> Any:
        """A record of the file under our names; anything but an object as it is."""
        if not isinstance(record, dict):
            return record
        if self.columns:
            hidden = {*self.columns, *self.columns.values()}
            own = {ours: record[theirs] for ours, theirs in self.columns.items() if theirs in record}
            record = {key: value for key, value in record.items() if key not in hidden} | own
        if self.message_keys or self.roles:
            record = {key: self._part(value) if key in _MESSAGE_COLUMNS else value for key, value in record.items()}
        return record

    def _part(self, value: Any) -> Any:
        """Messages, one of them, or OpenAI's object of them; a text as it is."""
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return value  # whoever reads it says what is wrong
        if isinstance(value, list):
            return [self._message(message) for message in value]
        if isinstance(value, dict) and "messages" in value:
            return {**value, "messages": self._part(value["messages"])}
        return self._message(value)

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return message
        hidden = {*self.message_keys, *self.message_keys.values()}
        own = {ours: message[theirs] for ours, theirs in self.message_keys.items() if theirs in message}
        message = {key: value for key, value in message.items() if key not in hidden} | own
        for key in ("role", "from"):
            if isinstance(role := message.get(key), str):
                message[key] = next((ours for ours, theirs in self.roles.items() if role in theirs), role)
        return message
