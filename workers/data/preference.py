"""Records that say which answers are good: pairs of a better and a worse one, or single ones with a label.

Prompts and answers are text, or lists of messages. Text becomes a message of the user or of the assistant, so the chat
template is applied to both alike.
"""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Content, Message, Notes, check_roles, kind, read_messages, read_text

DESIRABLE, UNDESIRABLE = "desirable", "undesirable"
"""Labels of single answers."""

_LABELS = {"true": DESIRABLE, "1": DESIRABLE, "false": UNDESIRABLE, "0": UNDESIRABLE}


def chosen_content(record: Mapping[str, Any]) -> Content:
    """The prompt with `chosen`; without a prompt, `chosen` is a whole conversation. Raises RowError."""
    return _answered(record, "chosen")


def rejected_note(record: Mapping[str, Any]) -> Notes:
    """The last answer of `rejected`.

    Raises:
        RowError: it is no conversation, differs from `chosen` before the last answer, or does not differ in it.
    """
    chosen, rejected = _answered(record, "chosen"), _answered(record, "rejected")
    if chosen[:-1] != rejected[:-1]:
        raise RowError(
            problems.WRONG_ROLES, "chosen and rejected differ before their last message; expected one prompt for both"
        )
    if chosen == rejected:
        raise RowError(problems.NOTHING_TRAINABLE, "chosen and rejected are the same answer")
    return Notes(rejected=rejected[-1]["content"])


def labelled_content(record: Mapping[str, Any]) -> Content:
    """The prompt with `completion`. Raises RowError."""
    return _answered(record, "completion")


def label_note(record: Mapping[str, Any]) -> Notes:
    """Whether that is how the prompt should be answered.

    Raises:
        RowError: `label` is none of true, false, 1 and 0.
    """
    label = record["label"]
    known = _LABELS.get(str(label).strip().lower()) if isinstance(label, bool | int | str) else None
    if known is None:
        shown = repr(label) if isinstance(label, int | str) else kind(label)
        raise RowError(problems.WRONG_TYPE, f"label is {shown}; expected true or false")
    return Notes(label=known)


def _answered(record: Mapping[str, Any], name: str) -> list[Message]:
    """The prompt with the answer in the column `name`. An answer that repeats the prompt has it once."""
    prompt = [] if record.get("prompt") is None else _part(record, "prompt", "user")
    answer = _part(record, name, "assistant")
    whole = answer if answer[: len(prompt)] == prompt else prompt + answer
    try:
        check_roles(whole)
    except RowError as error:
        place = f"prompt and {name}" if len(whole) > len(answer) else name
        raise RowError(error.reason, f"{place}: {error.detail}") from error
    return whole


def _part(record: Mapping[str, Any], name: str, role: str) -> list[Message]:
    """Text as a message of `role`, or the messages as they are."""
    value = record[name]
    if isinstance(value, list):
        if any(isinstance(message, dict) and message.get("weight") is not None for message in value):
            raise RowError(
                problems.WRONG_COLUMNS, f"{name}: a message has a weight, which rows of this shape do not take"
            )
        try:
            return read_messages(value, name)
        except RowError as error:
            raise RowError(error.reason, f"{name}: {error.detail}") from error
    if not isinstance(value, str):
        raise RowError(problems.WRONG_TYPE, f"{name} is {kind(value)}; expected text or a list of {{role, content}}")
    return [{"role": role, "content": read_text(record, name)}]
