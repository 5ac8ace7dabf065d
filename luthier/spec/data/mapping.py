"""`data.columns`, `data.message_keys` and `data.roles`: what the user's rows call what Luthier knows by other names."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

RowFormat = Literal[
    "auto",
    "chat",
    "sharegpt",
    "prompt_completion",
    "prompt",
    "alpaca",
    "text",
    "segments",
    "preference",
    "openai_preference",
    "labelled_completion",
    "labelled_answer",
    "stepwise",
    "labelled_stepwise",
    "labelled_text",
    "labelled_chat",
    "multi_labelled_text",
    "multi_labelled_chat",
]
Column = Literal[
    "messages",
    "conversations",
    "prompt",
    "completion",
    "completions",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "tools",
    "text",
    "segments",
    "chosen",
    "rejected",
    "preferred_output",
    "non_preferred_output",
    "label",
    "labels",
]
"""Columns of the shapes of a row."""
MessageKey = Literal["role", "content", "weight", "train", "reasoning_content", "tool_calls", "tool_call_id", "name"]
Role = Literal["system", "user", "assistant", "tool", "function_call"]

_Name = Annotated[str, Field(min_length=1)]


def _one_each(names: Mapping[str, str | None]) -> Mapping[str, str | None]:
    given = [name for name in names.values() if name is not None]
    doubled = next((name for name in given if given.count(name) > 1), None)
    if doubled is not None:
        both = " and ".join(ours for ours, theirs in names.items() if theirs == doubled)
        raise ValueError(f"{both} are both to be {doubled!r}; a name of the file can stand for one thing alone")
    return names


def _one_role_each(roles: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    _one_each({f"{role} ({place})": name for role, names in roles.items() for place, name in enumerate(names)})
    return roles


Columns = Annotated[dict[Column, _Name | None], AfterValidator(_one_each)]
MessageKeys = Annotated[dict[MessageKey, _Name], AfterValidator(_one_each)]
Roles = Annotated[dict[Role, Annotated[list[_Name], Field(min_length=1)]], AfterValidator(_one_role_each)]
