"""The learning rate of a step: linear warm-up, then the shape that the job names. Pure: there is nothing to save."""

import math

from luthier.spec import TrainingSpec


def learning_rate(step: int, num_steps: int, spec: TrainingSpec) -> float:
    """The rate of optimizer step `step` (from 0) out of `num_steps`; above zero for all of them.

    Cosine: Loshchilov & Hutter, 2016, arXiv:1608.03983, without restarts.
    """
    num_warmup = math.ceil(spec.warmup_ratio * num_steps)
    if step < num_warmup:
        return spec.learning_rate * (step + 1) / (num_warmup + 1)
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    factors = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1.0 + math.cos(math.pi * done))}
    return spec.learning_rate * factors[spec.lr_scheduler_type]
