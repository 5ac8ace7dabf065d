"""The shapes of a record, and how each becomes a conversation or a text. A new shape is one row in `SHAPES`.

Which of them a job may use is up to its objective. Columns that a shape does not know are left alone.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Notes, is_segmented, kind, read_text
from workers.data.shapes import conversations, labels, preference, segments, stepwise
from workers.data.shapes.names import Names
from workers.data.shapes.shape import Shape


def _text(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    return read_text(record, "text"), Notes()


SHAPES: dict[str, Shape] = {
    "chat": Shape(("messages",), ("tools",), conversations.chat),
    "sharegpt": Shape(("conversations",), ("system", "tools"), conversations.sharegpt),
    "prompt_completion": Shape(("prompt", "completion"), ("tools",), conversations.prompt_completion),
    "prompt": Shape(("prompt",), ("tools",), conversations.prompt_only),
    "alpaca": Shape(("instruction", "output"), ("input", "system", "history"), conversations.alpaca),
    "text": Shape(("text",), (), _text, is_text=True),
    "segments": Shape(("segments",), (), segments.segments, is_text=True),
    "preference": Shape(("chosen", "rejected"), ("prompt", "tools"), preference.pair),
    "openai_preference": Shape(("input", "preferred_output", "non_preferred_output"), (), preference.openai_pair),
    "labelled_completion": Shape(("prompt", "completion", "label"), ("tools",), preference.labelled_completion),
    "labelled_answer": Shape(("messages", "label"), ("tools",), preference.labelled_answer),
    "stepwise": Shape(("prompt", "completions", "labels"), (), stepwise.stepwise),
    "labelled_stepwise": Shape(("prompt", "completions", "labels"), (), stepwise.labelled_stepwise),
    "labelled_text": Shape(("text", "label"), (), labels.labelled_text, is_text=True),
    "labelled_chat": Shape(("messages", "label"), ("tools",), labels.labelled_chat, ends_with_answer=False),
    "multi_labelled_text": Shape(
        ("text", "labels"), (), labels.multi_labelled_text, is_text=True, also_called={"labels": "label"}
    ),
    "multi_labelled_chat": Shape(
        ("messages", "labels"),
        ("tools",),
        labels.multi_labelled_chat,
        ends_with_answer=False,
        also_called={"labels": "label"},
    ),
}
_AS_THEY_ARE = Names()
_SETS = frozenset(("multi_labelled_text", "multi_labelled_chat"))


def detect(columns: Sequence[str], allowed: Sequence[str]) -> str:
    """Which one of the shapes `allowed`, keys of `SHAPES`, has all its required columns there.

    One that takes more of them wins over one that takes but some of the same. A column may have its second name.

    Raises:
        ValueError: none or several fit; says what was found and what is expected.
    """
    fitting = [name for name, shape in SHAPES.items() if set(shape.required) <= set(columns)]
    usable = _largest([name for name in allowed if not SHAPES[name].lacking(columns)])
    if len(usable) == 1:
        return usable[0]
    found = f"columns found: {shown(columns)}"
    if usable:
        raise ValueError(
            f"{found}; they fit {' and '.join(usable)}; set data.format to one of them, or, where rows differ, put "
            "those of each shape into a file of their own"
        )
    other = f"; they fit {' and '.join(_largest(fitting))}, {_wanting(fitting, allowed)}" if fitting else ""
    expected = "; ".join(f"{SHAPES[name].expected} ({name})" for name in allowed)
    raise ValueError(
        f"{found}{other}; expected one of: {expected}; data.columns says what yours are called"
        f"{_as_called(columns, allowed)}"
    )


def read_row(
    record: object,
    shape: Shape,
    system_prompt: str | None = None,
    names: Names = _AS_THEY_ARE,
    mend: Callable[[Mapping[str, Any], Shape], Mapping[str, Any]] | None = None,
) -> tuple[Content, Notes]:
    """The conversation or text of one record, with `system_prompt` put before a conversation that has none.

    Args:
        record: as it was read.
        shape: its columns.
        system_prompt: None: nothing is put before it.
        names: what the file calls columns, keys and roles.
        mend: changes the record, whose columns have our names then, before it is read.

    Raises:
        RowError: the record does not fit the shape.
    """
    record = names.record(record)
    if not isinstance(record, dict):
        raise RowError(problems.WRONG_TYPE, f"{kind(record)}; expected a JSON object")
    missing = shape.lacking(record.keys())
    if missing:
        raise RowError(problems.WRONG_COLUMNS, _misfit(record, shape, missing))
    content, notes = shape.read(record if mend is None else mend(record, shape))
    if system_prompt is None or isinstance(content, str) or is_segmented(content) or content[0]["role"] == "system":
        return content, notes
    return [{"role": "system", "content": system_prompt}, *content], notes


def _wanting(fitting: Sequence[str], allowed: Sequence[str]) -> str:
    """What learns from the shapes `fitting`, none of which is `allowed`."""
    if "labelled_text" in allowed and _SETS.intersection(fitting):
        return "which takes objective.multi_label: true"
    return "which is for another objective.type"


def shown(columns: Sequence[str]) -> str:
    """Names of columns for a message: the first twenty, in quotes what is not plain to see."""
    plain = [name if name and name.isprintable() and name == name.strip() else repr(name) for name in columns[:20]]
    more = [f"and {len(columns) - 20:,} more"] if len(columns) > 20 else []
    return ", ".join([*plain, *more]) or "none"


def _as_called(columns: Sequence[str], allowed: Sequence[str]) -> str:
    """What to write there, if some columns are those of a shape but for upper case or spaces."""
    theirs = {name.strip().lower(): name for name in columns}
    ours = dict.fromkeys(name for shape in allowed for name in SHAPES[shape].columns)
    close = [f"{name}: {theirs[name]!r}" for name in ours if name in theirs and theirs[name] != name]
    return f": {{{', '.join(close)}}}" if close else ""


def _largest(names: Sequence[str]) -> list[str]:
    """Those whose columns are not just some of another's."""
    return [name for name in names if not any(_is_part(SHAPES[name], SHAPES[other]) for other in names)]


def _is_part(one: Shape, other: Shape) -> bool:
    return set(one.required) <= set(other.columns) and not set(other.required) <= set(one.columns)


def _misfit(record: Mapping[str, Any], shape: Shape, missing: Sequence[str]) -> str:
    found = ", ".join(map(repr, islice(record, 20))) or "none"
    found += f" and {len(record) - 20:,} more" if len(record) > 20 else ""
    detail = f"no {' and no '.join(missing)}; found {found}, expected {shape.expected}"
    fitting = _largest([name for name, other in SHAPES.items() if set(other.required) <= record.keys()])
    if fitting:
        detail += f"; it is a row of {' or '.join(fitting)}: put rows of each shape into a file of their own"
    return detail


__all__ = ["SHAPES", "Names", "Shape", "detect", "read_row", "shown"]
