"""The learning rate of a step: linear warm-up, then the shape that the job names. Pure: there is nothing to save."""

import math
from collections.abc import Callable

from luthier.spec import TrainingSpec
from workers.failures import ConfigError

_SHAPES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda done, _: 1.0,
    "linear": lambda done, _: 1.0 - done,
    "cosine": lambda done, _: 0.5 * (1.0 + math.cos(math.pi * done)),
    "wsd": lambda done, decay: min(1.0, (1.0 - done) / decay),
}
"""Factor of the peak, from 1 down to 0, by the part of the steps after the warm-up that is done. `decay` is the part of
them in which WSD falls."""


def learning_rate(step: int, num_steps: int, spec: TrainingSpec) -> float:
    """The rate of optimizer step `step` (from 0) out of `num_steps`; above zero for all of them.

    Cosine: Loshchilov & Hutter, 2016, arXiv:1608.03983, without restarts. WSD: Hu et al., 2024, arXiv:2404.06395, with
    the linear decay of Hägele et al., 2024, arXiv:2405.18392.
    """
    num_warmup = spec.num_warmup_steps(num_steps)
    if step < num_warmup:
        return spec.learning_rate * (step + 1) / (num_warmup + 1)
    num_left = max(1, num_steps - num_warmup)
    num_decay = min(num_left, math.ceil(spec.wsd_decay_ratio * num_steps))
    factor = _SHAPES[spec.lr_scheduler_type]((step - num_warmup) / num_left, num_decay / num_left)
    return spec.learning_rate * (spec.min_lr_ratio + (1.0 - spec.min_lr_ratio) * factor)


def check_schedule(num_steps: int, spec: TrainingSpec) -> None:
    """
    Raises:
        ConfigError: the run is over before its rate has risen.
    """
    if spec.num_warmup_steps(num_steps) >= num_steps > 1:
        name, value = ("ratio", spec.warmup_ratio) if spec.warmup_steps is None else ("steps", spec.warmup_steps)
        raise ConfigError(
            f"the warm-up of training.warmup_{name} ({value}) is not over when the run is, which has {num_steps} "
            f"optimizer steps; lower it, or train longer"
        )
