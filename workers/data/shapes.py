"""The shapes of a record, and how each becomes a conversation or a text. A new shape is one row in `SHAPES`.

Which of them a job may use is up to its objective. Columns that a shape does not know are left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workers.data import labels, preference, problems
from workers.data.problems import RowError
from workers.data.row import Content, Notes, check_roles, exchange, kind, read_messages, read_text


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


def detect(columns: Sequence[str], allowed: Sequence[str]) -> str:
    """Which one of the shapes `allowed`, keys of `SHAPES`, has all its required columns there.

    Raises:
        ValueError: none or several fit; says what was found and what is expected.
    """
    fitting = [name for name, shape in SHAPES.items() if set(shape.required) <= set(columns)]
    usable = [name for name in fitting if name in allowed]
    if len(usable) == 1:
        return usable[0]
    found = f"columns found: {', '.join(columns) or 'none'}"
    if usable:
        raise ValueError(f"{found}; they fit {' and '.join(usable)}; set data.format to one of them")
    other = f"; they fit {' and '.join(fitting)}, which is for another objective.type" if fitting else ""
    expected = "; ".join(f"{SHAPES[name].expected} ({name})" for name in allowed)
    raise ValueError(f"{found}{other}; expected one of: {expected}")


def convert(record: object, shape: Shape, system_prompt: str | None) -> Content:
    """The conversation or text of one record, with `system_prompt` put before a conversation that has none.

    Raises:
        RowError: the record does not fit the shape.
    """
    if not isinstance(record, dict):
        raise RowError(problems.WRONG_TYPE, f"{kind(record)}; expected a JSON object")
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
    messages = read_messages(record["messages"], "messages")
    check_roles(messages)
    return messages


def _weights(record: Mapping[str, Any]) -> Notes:
    given = [row.get("weight") for row in record["messages"] if row["role"] == "assistant"]
    weights = [1.0 if weight is None else float(weight) for weight in given]
    return Notes(weights if any(weight != 1.0 for weight in weights) else None)


def _from_pair(record: Mapping[str, Any]) -> Content:
    return exchange(read_text(record, "prompt"), read_text(record, "completion"))


def _from_alpaca(record: Mapping[str, Any]) -> Content:
    instruction = read_text(record, "instruction")
    if record.get("input") is not None:
        extra = read_text(record, "input", may_be_empty=True)
        if extra.strip():
            instruction = f"{instruction}\n\n{extra}"
    return exchange(instruction, read_text(record, "output"))


def _from_text(record: Mapping[str, Any]) -> Content:
    return read_text(record, "text")


SHAPES: dict[str, Shape] = {
    "chat": Shape(("messages",), (), _from_chat, _weights),
    "prompt_completion": Shape(("prompt", "completion"), (), _from_pair),
    "alpaca": Shape(("instruction", "output"), ("input",), _from_alpaca),
    "text": Shape(("text",), (), _from_text),
    "preference": Shape(("chosen", "rejected"), ("prompt",), preference.chosen_content, preference.rejected_note),
    "labelled_completion": Shape(
        ("prompt", "completion", "label"), (), preference.labelled_content, preference.label_note
    ),
    "labelled_text": Shape(("text", "label"), (), _from_text, labels.class_note),
    "labelled_chat": Shape(("messages", "label"), (), labels.labelled_chat, labels.class_note),
}
