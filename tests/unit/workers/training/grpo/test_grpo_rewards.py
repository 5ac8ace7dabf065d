"""What answers are worth, and what a reward may not return."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from luthier.settings import WorkerSettings
from luthier.spec.objective.rewards import RewardFunction
from workers.failures import ConfigError, DataError
from workers.training.grpo.rewards import Reward, make_rewards


def spec(**section: Any) -> RewardFunction:
    found: RewardFunction = TypeAdapter(RewardFunction).validate_python(section)
    return found


def judged(reward: Reward, *answers: str, expected: str = "yes") -> list[float | None]:
    completions = [[{"role": "assistant", "content": answer}] for answer in answers]
    prompts = [[{"role": "user", "content": "well?"}]] * len(answers)
    origin = [f"rows.jsonl:{number}" for number, _ in enumerate(answers, start=1)]
    return reward(prompts, completions, origin, answer=[expected] * len(answers), trainer_state=None)


@pytest.mark.parametrize(
    ("section", "answers", "worth"),
    [
        ({"type": "exact_match"}, ["yes", " yes\n", "Yes"], [1.0, 1.0, 0.0]),
        ({"type": "json_valid"}, ['{"a": 1}', "[]", "1", "{", ""], [1.0, 1.0, 0.0, 0.0, 0.0]),
        ({"type": "regex", "pattern": "^a.b$"}, ["a\nb", "xa b"], [1.0, 0.0]),
        ({"type": "length", "min_words": 2, "max_words": 4}, ["", "a", "a b", "a b c d e"], [0.0, 0.5, 1.0, 0.8]),
        ({"type": "length"}, ["", "a b"], [1.0, 1.0]),
    ],
)
def test_the_built_in_ones_say_what_they_are_for(
    section: dict[str, Any], answers: list[str], worth: list[float]
) -> None:
    (reward,) = make_rewards([spec(**section)], WorkerSettings())
    assert judged(reward, *answers) == worth


def test_each_has_a_name_of_its_own() -> None:
    rewards = [spec(type="regex", pattern="a"), spec(type="length"), spec(type="regex", pattern="b")]
    assert [reward.__name__ for reward in make_rewards(rewards, WorkerSettings())] == ["regex", "length", "regex#2"]


@pytest.mark.parametrize(
    ("values", "error", "reason"),
    [
        ([1.0], ConfigError, "the reward mine returned 1 values for 2 answers"),
        (None, ConfigError, "returned a NoneType for 2 answers"),
        ([0.5, "good"], ConfigError, "gave a str to an answer to rows.jsonl:2"),
        ([0.5, float("nan")], DataError, "gave nan to an answer to rows.jsonl:2"),
        ([float("inf"), 0.5], DataError, "gave inf to an answer to rows.jsonl:1"),
    ],
)
def test_what_a_function_returns_is_checked(values: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        judged(Reward("mine", lambda **_: values), "a", "b")


def test_a_function_may_have_no_opinion() -> None:
    assert judged(Reward("mine", lambda **_: [None, 1]), "a", "b") == [None, 1.0]


def missing_option(completions: Any, limit: int, **_: Any) -> list[float]:
    return [1.0 / limit] * len(completions)


async def later(**_: Any) -> list[float]:
    return []


NUMBER = 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "cannot be loaded on this worker: .* has no attribute"),
        ("NUMBER", "is a int; it must be a plain function"),
        ("later", "is a function; it must be a plain function"),
    ],
)
def test_what_is_no_reward_is_refused(name: str, reason: str) -> None:
    entry_point = f"{__name__}:{name}"
    with pytest.raises(ConfigError, match=reason):
        make_rewards([spec(type="custom", entry_point=entry_point)], WorkerSettings(custom_rewards=entry_point))


def test_options_are_handed_over() -> None:
    entry_point = f"{__name__}:missing_option"
    settings = WorkerSettings(custom_rewards=f"other, {entry_point}")
    (reward,) = make_rewards([spec(type="custom", entry_point=entry_point, options={"limit": 4})], settings)
    assert judged(reward, "a") == [0.25]
    (reward,) = make_rewards([spec(type="custom", entry_point=entry_point)], settings)
    with pytest.raises(ConfigError, match=r"raised TypeError: .*limit.* rows\.jsonl:1"):
        judged(reward, "a")
    assert "LUTHIER_CUSTOM_REWARDS" in settings.runner_environment()
