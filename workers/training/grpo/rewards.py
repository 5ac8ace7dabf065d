"""What answers are worth: the built-in rewards, those of users, and what both may and may not return.

TRL calls a reward with the prompts and answers of a step and the columns of their rows. An answer may get None, which
leaves the reward out of its sum; anything else must be a finite number.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from luthier.settings import WorkerSettings
from luthier.spec.objective.rewards import (
    CustomReward,
    LengthReward,
    RegexReward,
    RewardFunction,
    reward_names,
)
from workers.extensions import ExtensionPoint
from workers.failures import ConfigError, DataError

REWARD_FUNCTIONS = ExtensionPoint("objective.rewards entry_point", "luthier.rewards", "LUTHIER_CUSTOM_REWARDS")

Messages = list[dict[str, str]]
Worth = Callable[[str, str], float]
"""Of an answer, given it and the row's own answer."""


def _exact_match(_: Any) -> Worth:
    return lambda answer, expected: float(answer.strip() == expected.strip())


def _json_valid(_: Any) -> Worth:
    return lambda answer, _: float(_is_json(answer))


def _regex(reward: RegexReward) -> Worth:
    pattern = re.compile(reward.pattern, re.DOTALL)
    return lambda answer, _: float(pattern.search(answer) is not None)


def _length(reward: LengthReward) -> Worth:
    def worth(answer: str, _: str) -> float:
        num_words = len(answer.split())
        if num_words < reward.min_words:
            return num_words / reward.min_words
        return 1.0 if reward.max_words is None or num_words <= reward.max_words else reward.max_words / num_words

    return worth


BUILT_IN: dict[str, Callable[[Any], Worth]] = {
    "exact_match": _exact_match,
    "json_valid": _json_valid,
    "regex": _regex,
    "length": _length,
}


class Reward:
    """One reward as TRL calls it; `__name__` is what TRL calls it in its metrics."""

    def __init__(self, name: str, function: Callable[..., Sequence[float | None]]) -> None:
        self.__name__ = name
        self._function = function

    def __call__(
        self, prompts: Sequence[Messages], completions: Sequence[Messages], origin: Sequence[str], **columns: Any
    ) -> list[float | None]:
        """The rewards of one step, one per answer.

        Raises:
            ConfigError: the function raised, or does not return one number or None per answer.
            DataError: a number is not finite.
        """
        given = {"answer": columns["answer"]}
        try:
            found = self._function(prompts=prompts, completions=completions, **given)
        # The border to code of others: whatever it raises is told to its author, with the row that it was asked about.
        except Exception as error:
            raise ConfigError(
                f"the reward {self.__name__} raised {type(error).__name__}: {error}, asked about answers to "
                f"{', '.join(dict.fromkeys(origin))}; mend the function"
            ) from error
        if not isinstance(found, Sequence) or len(found) != len(completions):
            what = f"{len(found)} values" if isinstance(found, Sequence) else f"a {type(found).__name__}"
            raise ConfigError(
                f"the reward {self.__name__} returned {what} for {len(completions)} answers; it must return a list "
                "with a number or None for each"
            )
        return [self._checked(value, place) for value, place in zip(found, origin, strict=True)]

    def _checked(self, value: object, origin: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
            raise ConfigError(
                f"the reward {self.__name__} gave a {type(value).__name__} to an answer to {origin}; it must give a "
                "number or None"
            )
        number = float(value)
        if not math.isfinite(number):
            raise DataError(
                f"the reward {self.__name__} gave {number} to an answer to {origin}; look at that row, or let the "
                "function return None for what it cannot judge"
            )
        return number


def make_rewards(rewards: list[RewardFunction], settings: WorkerSettings) -> list[Reward]:
    """The rewards of a job, in its order.

    Raises:
        ConfigError: the worker does not allow a function, does not have it, or it cannot be called.
    """
    return [
        Reward(name, _of_user(reward, settings) if isinstance(reward, CustomReward) else _built_in(reward))
        for name, reward in zip(reward_names(rewards), rewards, strict=True)
    ]


def _built_in(reward: RewardFunction) -> Callable[..., list[float | None]]:
    worth = BUILT_IN[reward.type](reward)

    def judge(prompts: Sequence[Messages], completions: Sequence[Messages], answer: Sequence[str]) -> Any:
        return [
            worth(messages[-1]["content"], expected) for messages, expected in zip(completions, answer, strict=True)
        ]

    return judge


def _of_user(reward: CustomReward, settings: WorkerSettings) -> Callable[..., Sequence[float | None]]:
    REWARD_FUNCTIONS.check_allowed(reward.entry_point, settings.custom_rewards)
    function = REWARD_FUNCTIONS.find(reward.entry_point)
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ConfigError(
            f"objective.rewards entry_point {reward.entry_point!r} is a {type(function).__name__}; it must be a plain "
            "function"
        )
    options: Mapping[str, Any] = reward.options
    return lambda **given: function(**given, **options)


def _is_json(answer: str) -> bool:
    try:
        return isinstance(json.loads(answer), dict | list)
    except ValueError:
        return False
