"""What a shape of a row is."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.data.row import Content, Notes


@dataclass(frozen=True)
class Shape:
    """One way to write a row."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[Mapping[str, Any]], tuple[Content, Notes]]
    """From a record that has the required columns. Raises RowError."""
    is_text: bool = False
    """Whether no chat template is needed to read it."""

    ends_with_answer: bool = True
    """Whether the assistant has to have the last word in its conversation."""

    also_called: Mapping[str, str] = field(default_factory=dict)
    """A second name that a required column may have."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it reads."""
        return self.required + self.optional + tuple(self.also_called.values())

    def lacking(self, columns: Collection[str]) -> list[str]:
        """Required columns that are not among `columns`, under either name."""
        return [name for name in self.required if name not in columns and self.also_called.get(name) not in columns]

    @property
    def expected(self) -> str:
        """The columns, for a person."""
        return " + ".join(self.required) + "".join(f" (+ {name})" for name in self.optional)
