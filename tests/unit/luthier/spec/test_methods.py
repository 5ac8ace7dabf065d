"""What a job file's method rules out in its other sections."""

import json
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import JobSpec, canonical_json, parse_spec

MINIMAL = {"name": "tickets", "base_model": "smollm2-135m-instruct", "data": {"path": "train.jsonl"}}


def _job(**sections: Any) -> JobSpec:
    return parse_spec(json.dumps({**MINIMAL, **sections}))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"method": {"init_lora_weights": "pissa"}, "resources": {"distributed": {"type": "zero"}}},
            "init_lora_weights pissa changes frozen weights, which resources.distributed.type zero divides",
        ),
        ({"method": {"type": "adalora"}, "training": {"ema_decay": 0.99}}, "leave ema_decay out"),
        (
            {"method": {"type": "adalora", "tinit": 8}, "training": {"max_steps": 10}},
            r"method.tinit \(8\) and method.tfinal \(3\) leave none of the 10 optimizer steps",
        ),
        (
            {"method": {"type": "prefix_tuning"}, "training": {"gradient_checkpointing": "full"}},
            "training.gradient_checkpointing full drops; set it to none",
        ),
    ],
)
def test_what_the_method_rules_out_is_refused(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpecError, match=words):
        _job(**sections)


@pytest.mark.parametrize(
    ("method", "learning_rate"),
    [
        ({"type": "adalora"}, 1e-3),
        ({"type": "ia3"}, 3e-3),
        ({"type": "oft"}, 2e-4),
        ({"init_lora_weights": "olora"}, 2e-4),
    ],
)
def test_an_adapter_has_a_rate_and_all_formats_of_its_own(method: dict[str, Any], learning_rate: float) -> None:
    job = _job(method=method)
    assert job.training.learning_rate == pytest.approx(learning_rate)
    assert job.export.formats == ["peft", "merged", "triton"]
    assert parse_spec(canonical_json(job)) == job
