"""Learning rates."""

import pytest

from luthier.spec import TrainingSpec
from workers.training.schedule import learning_rate


def rates(shape: str, num_steps: int = 40) -> list[float]:
    spec = TrainingSpec.model_validate({"learning_rate": 0.5, "lr_scheduler_type": shape, "warmup_ratio": 0.1})
    return [learning_rate(step, num_steps, spec) for step in range(num_steps)]


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_rises_to_the_peak_and_is_never_zero(shape: str) -> None:
    values = rates(shape)
    assert values[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert max(values) == 0.5
    assert min(values) > 0.0


def test_shapes_after_the_warm_up() -> None:
    assert rates("constant")[5:] == [0.5] * 35
    assert rates("linear")[22] == pytest.approx(0.25)
    assert rates("cosine")[22] == pytest.approx(0.25)
    assert rates("cosine")[13] > rates("linear")[13]
    assert rates("cosine")[39] < 0.01
