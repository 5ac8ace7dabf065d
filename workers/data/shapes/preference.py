"""Records that say which answers are good: pairs of a better and a worse one, or single ones with a label.

Prompts and answers are text, or lists of messages. Text becomes a message of the user or of the assistant, so the chat
template is applied to both alike.
"""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import DESIRABLE, UNDESIRABLE, Content, Message, Notes, kind
from workers.data.shapes.conversations import chat, read_part
from workers.data.shapes.tools import read_tools
from workers.data.shapes.turns import check_answered

_LABELS = {"true": DESIRABLE, "1": DESIRABLE, "false": UNDESIRABLE, "0": UNDESIRABLE}
_OPENAI = {"chosen": "preferred_output", "rejected": "non_preferred_output"}


def pair(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """The prompt with `chosen`, and the last answer of `rejected`; without a prompt both are whole conversations.

    Raises:
        RowError: one is no conversation, they differ before the last answer, or do not differ in it.
    """
    return _compared(_answered(record, "chosen"), _answered(record, "rejected"), record)


def openai_pair(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """As OpenAI writes it: `input` has the prompt, `preferred_output` and `non_preferred_output` the answers.

    Raises:
        RowError: as `pair`.
    """
    asked = record["input"]
    if not isinstance(asked, dict):
        raise RowError(problems.WRONG_TYPE, f"input is {kind(asked)}; expected {{messages}}")
    if "messages" not in asked:
        raise RowError(problems.WRONG_COLUMNS, "input has no messages; expected {messages}")
    row = {"prompt": asked["messages"], "tools": asked.get("tools")}
    row |= {ours: record[theirs] for ours, theirs in _OPENAI.items()}
    return pair(row)


def labelled_completion(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """The prompt with `completion`, and whether that is how it should be answered. Raises RowError."""
    return _answered(record, "completion"), Notes(label=_label(record["label"]), tools=read_tools(record))


def labelled_answer(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A conversation, and whether its last answer is a good one. Raises RowError."""
    messages, notes = chat(record)
    if notes.weights is not None:
        raise _weighted("messages")
    return messages, Notes(label=_label(record["label"]), tools=notes.tools)


def _compared(chosen: list[Message], rejected: list[Message], record: Mapping[str, Any]) -> tuple[list[Message], Notes]:
    if chosen[:-1] != rejected[:-1]:
        raise RowError(
            problems.WRONG_ROLES, "chosen and rejected differ before their last message; expected one prompt for both"
        )
    if chosen == rejected:
        raise RowError(problems.NOTHING_TRAINABLE, "chosen and rejected are the same answer")
    worse = rejected[-1]
    if len(worse) > 2:
        has = " and ".join(sorted(worse.keys() - {"role", "content"}))
        raise RowError(problems.WRONG_COLUMNS, f"rejected: the last answer has {has}; only its text can be compared")
    return chosen, Notes(rejected=worse["content"], tools=read_tools(record))


def _label(label: object) -> str:
    known = _LABELS.get(str(label).strip().lower()) if isinstance(label, bool | int | str) else None
    if known is None:
        shown = repr(label) if isinstance(label, int | str) else kind(label)
        raise RowError(problems.WRONG_TYPE, f"label is {shown}; expected true or false")
    return known


def _answered(record: Mapping[str, Any], name: str) -> list[Message]:
    """The prompt with the answer in the column `name`. An answer that repeats the prompt has it once."""
    prompt = [] if record.get("prompt") is None else _part(record, "prompt", "user")
    answer = _part(record, name, "assistant")
    whole = answer if answer[: len(prompt)] == prompt else prompt + answer
    try:
        check_answered(whole)
    except RowError as error:
        place = f"prompt and {name}" if len(whole) > len(answer) else name
        raise RowError(error.reason, f"{place}: {error.detail}") from error
    return whole


def _part(record: Mapping[str, Any], name: str, role: str) -> list[Message]:
    part = read_part(record, name, role)
    if part.weights is not None:
        raise _weighted(name)
    return part.messages


def _weighted(name: str) -> RowError:
    return RowError(problems.WRONG_COLUMNS, f"{name}: a message has a weight, which rows of this shape do not take")
