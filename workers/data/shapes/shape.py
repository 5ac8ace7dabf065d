"""What a shape of a row is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it reads."""
        return self.required + self.optional

    @property
    def expected(self) -> str:
        """The columns, for a person."""
        return " + ".join(self.required) + "".join(f" (+ {name})" for name in self.optional)
