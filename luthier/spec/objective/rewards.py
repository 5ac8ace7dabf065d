"""`objective.rewards`: what an answer of the model is worth. One section per kind, told apart by `type`.

A new kind is one section here, one member of `RewardFunction`, and one row in `workers/training/grpo/rewards.py`.
"""

import re
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from luthier.spec.base import Section

_WEIGHT = "What it counts in the sum of the rewards."


class ExactMatchReward(Section):
    """1 if the answer is that of the row, white space at both ends aside, else 0."""

    type: Literal["exact_match"]
    """The kind."""
    weight: float = Field(default=1.0, description=_WEIGHT)


class JsonValidReward(Section):
    """1 if the answer is a JSON object or list, else 0."""

    type: Literal["json_valid"]
    """The kind."""
    weight: float = Field(default=1.0, description=_WEIGHT)


class RegexReward(Section):
    """1 if the pattern is found in the answer, else 0."""

    type: Literal["regex"]
    """The kind."""
    weight: float = Field(default=1.0, description=_WEIGHT)
    pattern: str = Field(min_length=1, max_length=1000)
    """A regular expression of Python; `^` and `$` are the ends of the answer, and `.` is any character."""

    @field_validator("pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return pattern


class LengthReward(Section):
    """1 if the answer has as many words as asked for; less, down to 0, the further it is from that."""

    type: Literal["length"]
    """The kind."""
    weight: float = Field(default=1.0, description=_WEIGHT)
    min_words: int = Field(default=0, ge=0)
    """A shorter answer gets its number of words over this."""
    max_words: int | None = Field(default=None, ge=1)
    """A longer one gets this over its number of words."""

    @model_validator(mode="after")
    def _some_length_is_right(self) -> "LengthReward":
        if self.max_words is not None and self.max_words < self.min_words:
            raise ValueError(f"max_words ({self.max_words}) is less than min_words ({self.min_words}); raise it")
        return self


class CustomReward(Section):
    """A function of the user's own; see docs/grpo.md.

    It runs only on workers whose setting `LUTHIER_CUSTOM_REWARDS` names it.
    """

    type: Literal["custom"]
    """The kind."""
    weight: float = Field(default=1.0, description=_WEIGHT)
    entry_point: str = Field(pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_][\w.]*)?$", max_length=256)
    """A name in the entry-point group `luthier.rewards`, or `module:function`."""
    options: dict[str, JsonValue] = Field(default={})
    """Handed to the function by name."""


RewardFunction = Annotated[
    ExactMatchReward | JsonValidReward | RegexReward | LengthReward | CustomReward, Field(discriminator="type")
]


def reward_names(rewards: list[RewardFunction]) -> list[str]:
    """A name for each, for metrics: its kind or function, numbered where it is there before."""
    names: list[str] = []
    for reward in rewards:
        name = reward.entry_point if isinstance(reward, CustomReward) else reward.type
        number = sum(one.partition("#")[0] == name for one in names) + 1
        names.append(name if number == 1 else f"{name}#{number}")
    return names
