"""AdamW with moments in 8 bits, by bitsandbytes (Dettmers et al., 2021, arXiv:2110.02861).

Two bytes of state per parameter instead of eight; matrices under 4,096 elements keep theirs in fp32. Runs on CPU too.
"""

from typing import Any

import torch
from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

from luthier.spec import TrainingSpec
from workers.failures import ConfigError


def make_8bit(groups: list[dict[str, Any]], spec: TrainingSpec, _: torch.device) -> torch.optim.Optimizer:
    """In the memory of the device."""
    return AdamW8bit(groups, **_settings(spec))  # type: ignore[no-untyped-call]


def make_paged_8bit(groups: list[dict[str, Any]], spec: TrainingSpec, device: torch.device) -> torch.optim.Optimizer:
    """In pages that the GPU's driver moves to the host's memory when its own is full.

    Raises:
        ConfigError: the device is no GPU: there is nowhere to page to.
    """
    if device.type != "cuda":
        raise ConfigError(
            f"training.optim paged_adamw_8bit needs a GPU, whose memory it pages to the host's; this worker trains on "
            f"its {device.type}: take adamw_8bit"
        )
    return PagedAdamW8bit(groups, **_settings(spec))  # type: ignore[no-untyped-call]


def _settings(spec: TrainingSpec) -> dict[str, Any]:
    return {"lr": spec.learning_rate, "betas": (spec.adam_beta1, spec.adam_beta2), "eps": spec.adam_epsilon}
