"""Learning rates: the shapes of transformers, one step ahead of them, because no step of ours has a rate of zero."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)
from transformers.optimization import get_cosine_with_min_lr_schedule_with_warmup, get_wsd_schedule

from luthier.spec import TrainingSpec
from workers.failures import ConfigError
from workers.training.schedule import check_schedule, learning_rate

SHAPES = ["cosine", "linear", "constant", "wsd"]
PEAK = 0.5


def make_spec(**settings: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({"learning_rate": PEAK} | settings)


def rates(shape: str, num_steps: int = 40, **settings: Any) -> list[float]:
    spec = make_spec(lr_scheduler_type=shape, **({"warmup_ratio": 0.1} | settings))
    return [learning_rate(step, num_steps, spec) for step in range(num_steps)]


def rates_of_transformers(make: Callable[..., LambdaLR], num_warmup: int, num_steps: int) -> list[float]:
    """Those of its steps 1 to `num_steps`, after a warm-up that counts step 0 too."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    (shape,) = make(optimizer, num_warmup_steps=num_warmup + 1).lr_lambdas
    return [PEAK * shape(step) for step in range(1, num_steps + 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rises_to_the_peak_and_is_never_zero(shape: str) -> None:
    values = rates(shape)
    assert values[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert max(values) == 0.5
    assert min(values) > 0.0


@pytest.mark.parametrize("num_warmup", [0, 7])
@pytest.mark.parametrize(
    ("settings", "make"),
    [
        ({"lr_scheduler_type": "constant"}, get_constant_schedule_with_warmup),
        ({"lr_scheduler_type": "linear"}, partial(get_linear_schedule_with_warmup, num_training_steps=51)),
        ({"lr_scheduler_type": "cosine"}, partial(get_cosine_schedule_with_warmup, num_training_steps=51)),
        (
            {"lr_scheduler_type": "cosine", "min_lr_ratio": 0.2},
            partial(get_cosine_with_min_lr_schedule_with_warmup, num_training_steps=51, min_lr_rate=0.2),
        ),
        (
            {"lr_scheduler_type": "wsd", "wsd_decay_ratio": 0.3},
            partial(get_wsd_schedule, num_decay_steps=15, num_training_steps=51, decay_type="linear"),
        ),
    ],
    ids=["constant", "linear", "cosine", "cosine-min", "wsd"],
)
def test_the_shapes_are_those_of_transformers(
    settings: dict[str, Any], make: Callable[..., LambdaLR], num_warmup: int
) -> None:
    spec = make_spec(warmup_steps=num_warmup, **settings)
    ours = [learning_rate(step, 50, spec) for step in range(50)]
    assert ours == pytest.approx(rates_of_transformers(make, num_warmup, 50), rel=1e-9)


def test_wsd_rises_stays_and_falls() -> None:
    values = rates("wsd", wsd_decay_ratio=0.25)
    assert values[4:31] == [PEAK] * 27
    assert values[30:] == pytest.approx([PEAK * (1 - step / 10) for step in range(10)])


@pytest.mark.parametrize("shape", ["cosine", "linear", "wsd"])
def test_it_falls_no_further_than_asked(shape: str) -> None:
    values = rates(shape, num_steps=1000, min_lr_ratio=0.1)
    assert 0.05 < values[-1] < 0.055


def test_a_warm_up_longer_than_the_run_is_refused() -> None:
    check_schedule(11, make_spec(warmup_steps=10))
    check_schedule(1, make_spec(warmup_ratio=0.95))
    with pytest.raises(ConfigError, match=r"training\.warmup_steps \(10\).*which has 10 .*lower it"):
        check_schedule(10, make_spec(warmup_steps=10))
    with pytest.raises(ConfigError, match=r"training\.warmup_ratio \(0\.95\).*which has 10 .*lower it"):
        check_schedule(10, make_spec(warmup_ratio=0.95))
