"""The objective `grpo`: what it fills in, what it rules out, and how faults in its rewards are told."""

import json
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import JobSpec, canonical_json, parse_spec

REWARDS = [{"type": "json_valid"}]


def spec(objective: dict[str, Any] | None = None, **changes: Any) -> JobSpec:
    document = {"name": "t", "base_model": "tiny", "data": {"path": "/d.jsonl", "max_length": 4096}}
    section = {"type": "grpo", "rewards": REWARDS} | (objective or {})
    return parse_spec(json.dumps(document | {"objective": section} | changes))


def test_a_forward_pass_has_a_group_unless_set() -> None:
    made = spec({"num_generations": 6})
    assert made.training.per_device_train_batch_size == 6
    assert not made.training.packing
    assert made.training.learning_rate == pytest.approx(1e-5)
    assert spec(method={"type": "full"}).training.learning_rate == pytest.approx(1e-6)
    assert parse_spec(canonical_json(made)) == made


def test_rewards_are_described_with_their_weights() -> None:
    made = spec({"rewards": [{"type": "json_valid", "weight": 0.5}, {"type": "custom", "entry_point": "mine:exact"}]})
    assert made.objective.describe().endswith("rewards: 0.5 json_valid, 1 mine:exact")


@pytest.mark.parametrize(
    ("objective", "changes", "reason"),
    [
        ({"rewards": []}, {}, "at least 1 item"),
        ({"rewards": [{"type": "jsonvalid"}]}, {}, r"objective\.rewards\.0\.type: .*Did you mean 'json_valid'"),
        ({"rewards": [{"type": "regex", "pattern": "("}]}, {}, r"objective\.rewards\.0\.pattern: is no regular"),
        ({"rewards": [{"type": "length", "max_word": 3}]}, {}, r"objective\.rewards\.0\.max_word: .*'max_words'"),
        ({"rewards": [{"type": "length", "min_words": 3, "max_words": 2}]}, {}, "less than min_words"),
        ({"rewards": [{"type": "custom", "entry_point": "a b"}]}, {}, "entry_point"),
        ({"num_generations": 1}, {}, "greater than or equal to 2"),
        ({}, {"method": {"type": "ia3"}}, "does not go with method.type ia3; take lora or full"),
        ({}, {"method": {"init_lora_weights": "pissa"}}, "init_lora_weights pissa; take default or gaussian"),
        ({}, {"method": {"added_tokens": ["<a>"]}}, "method.added_tokens 1; leave it out"),
        ({}, {"training": {"ema_decay": 0.9}}, "training.ema_decay 0.9; leave it out"),
        ({}, {"training": {"packing": True}}, "training.packing True; take false"),
        ({}, {"training": {"order": "short_first"}}, "take shuffled or as_given"),
        ({}, {"resources": {"num_ranks": 2}}, "resources.num_ranks 2; take 1"),
        ({}, {"training": {"per_device_train_batch_size": 6}}, "has 6 answers .* no multiple of .* .8."),
        ({}, {"data": {"path": "/d", "format": "preference"}}, "data.format preference is not what"),
    ],
)
def test_what_does_not_go_together_is_refused(objective: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        spec(objective, **changes)
