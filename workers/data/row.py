"""A row in the form that all shapes become, and how the parts of a record are read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from workers.data import problems
from workers.data.problems import RowError
from workers.data.splits.split_keys import SplitKeys

Message = dict[str, Any]
"""`role` (system, user, assistant or tool) and `content`, both text, and where a message has more to it
`reasoning_content`, `tool_call_id` and `name` (text), and `tool_calls`: a list as OpenAI writes it, `{type, id?,
function: {name, arguments}}`, the arguments as JSON text."""
Content = list[Message] | str
"""A conversation; the segments of a text, which are messages of the roles `CONTEXT` and `TARGET` whose texts are put
end to end, white space and all; or plain text."""

CONTEXT, TARGET = "context", "target"
"""Roles of segments: only read, or trained on."""
DESIRABLE, UNDESIRABLE = "desirable", "undesirable"
"""Labels of single answers."""


@dataclass(frozen=True)
class Notes:
    """What a record says beside its text."""

    weights: list[float] | None = None
    """What each answer of the assistant counts; None: 1 each."""
    rejected: str | None = None
    """An answer that is worse than the last one; None: the row compares nothing."""
    label: str | None = None
    """What kind of row it is; None: the record does not say."""
    labels: list[str] | None = None
    """The classes that it is of, each once, sorted; empty: of none. None: it is not a row with a set of classes."""
    tools: str | None = None
    """The functions that the assistant may call, a JSON list of their schemas; None: there are none."""


class Repair(NamedTuple):
    """Something that was mended in a row."""

    kind: str
    detail: str
    """What it did to this row."""
    num_places: int = 1
    """How often, where every place in a row is counted; else 1."""


@dataclass
class Row:
    """A row on its way through the steps, which may change it, or drop it by an `error`."""

    content: Content
    notes: Notes
    error: RowError | None = None
    """Why it is dropped; None: it stays."""
    repairs: list[Repair] = field(default_factory=list)
    """What was mended."""
    language: str | None = None
    """ISO 639-1 code; None: nobody looked."""
    signature: bytes | None = None
    """By which similar rows are found, see dedup/signature.py; None: nobody looks for them."""
    difficulty: float | None = None
    """The larger the harder; None: it does not say, or nobody asks."""
    keys: SplitKeys | None = None
    """What the record says of the split that it may go to; None: nothing is asked of it."""


def is_segmented(content: Content) -> bool:
    """Whether it is the segments of a text."""
    return not isinstance(content, str) and bool(content) and content[0]["role"] in (CONTEXT, TARGET)


def read_text(record: Mapping[str, Any], name: str, *, may_be_empty: bool = False, where: str = "") -> str:
    """The text in the column `name`.

    Raises:
        RowError: it is not text, or it is empty.
    """
    value = record.get(name)
    if not isinstance(value, str):
        raise RowError(problems.WRONG_TYPE, f"{where}{name} is {kind(value)}; expected text")
    if not may_be_empty and not value.strip():
        raise RowError(problems.EMPTY, f"{where}{name} is empty; expected text")
    return value


def read_list(value: object, name: str, of: str) -> list[Any]:
    """A list, or JSON text of one, as cells of CSV files have it.

    Raises:
        RowError: it is neither; the detail says that `name` should be a list of `of`.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(problems.BROKEN_JSON, f"column {name}: {error}; expected a JSON list of {of}") from error
    if not isinstance(value, list):
        raise RowError(problems.WRONG_TYPE, f"{name} is {kind(value)}; expected a list of {of}")
    return value


def kind(value: object) -> str:
    """What a JSON value is, for a person."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
