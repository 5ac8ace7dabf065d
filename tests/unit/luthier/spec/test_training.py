"""`training`: what cannot work is refused while the job file is read."""

from typing import Any

import pytest
from pydantic import ValidationError

from luthier.spec import JobSpec, TrainingSpec


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warmup_steps": 9, "max_steps": 9}, r"warmup_steps \(9\).*max_steps \(9\)"),
        (
            {"warmup_ratio": 0.95, "max_steps": 10},
            r"warmup_ratio \(0\.95\) leaves none of max_steps \(10\) .* lower it",
        ),
        ({"seed": 2**32}, "seed"),
        ({"lr_scheduler_type": "wsd", "warmup_ratio": 0.6, "wsd_decay_ratio": 0.5}, "more than the whole run"),
        (
            {"lr_scheduler_type": "wsd", "warmup_steps": 6, "max_steps": 10, "wsd_decay_ratio": 0.5},
            "more than the whole",
        ),
        ({"lr_scheduler_type": "constant", "min_lr_ratio": 0.2}, "min_lr_ratio.*never falls"),
        (
            {"optim": "sgd", "adam_beta1": 0.8},
            "adam_beta1 has no use with optim: sgd; leave it out, or set optim to adamw",
        ),
        ({"optim": "adafactor", "adam_epsilon": 1e-6}, "adam_epsilon has no use with optim: adafactor; leave it out"),
        ({"sgd_momentum": 0.5}, "sgd_momentum has no use with optim: adamw; leave it out, or set optim to sgd"),
        ({"wsd_decay_ratio": 0.3}, "wsd_decay_ratio has no use with lr_scheduler_type: cosine; .* to wsd"),
        ({"eval_steps": 0}, "eval_steps"),
        ({"save_steps": 0}, "save_steps"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"save_total_limit": 1}, "save_total_limit"),
        ({"adam_beta2": 1.0}, "adam_beta2"),
        ({"adam_beta1": -0.1}, "adam_beta1"),
        ({"adam_epsilon": 0.0}, "adam_epsilon"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"per_device_train_batch_size": 0}, "per_device_train_batch_size"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps"),
    ],
)
def test_what_cannot_work_is_refused_with_the_field(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){said}"):
        TrainingSpec.model_validate(settings)


def test_pages_need_a_gpu() -> None:
    job = {"name": "a", "base_model": "b", "data": {"path": "c"}, "training": {"optim": "paged_adamw_8bit"}}
    with pytest.raises(ValidationError, match=r"paged_adamw_8bit.*take adamw_8bit.*worker_class: gpu"):
        JobSpec.model_validate(job)
    JobSpec.model_validate({**job, "resources": {"worker_class": "gpu"}})
