"""What is minimised, by the name that the job file uses.

A new objective is one file with a class that has the methods of `Objective`, one row here, and its section in
`luthier/spec/objective`. Distillation has no row: it needs a second model, which the stage finds for it.
"""

from collections.abc import Callable
from typing import Any

from workers.training.objectives.base import Measured, Objective, Passes
from workers.training.objectives.classification import make_classification
from workers.training.objectives.dpo import make_dpo
from workers.training.objectives.ipo import make_ipo
from workers.training.objectives.kto import Kto
from workers.training.objectives.orpo import make_orpo
from workers.training.objectives.reward import Reward
from workers.training.objectives.sft import Sft
from workers.training.objectives.simpo import make_simpo

OBJECTIVES: dict[str, Callable[[Any], Objective]] = {
    "sft": Sft,
    "pretrain": Sft,
    "classification": make_classification,
    "dpo": make_dpo,
    "ipo": make_ipo,
    "kto": Kto,
    "orpo": make_orpo,
    "simpo": make_simpo,
    "reward": Reward,
}

__all__ = ["OBJECTIVES", "Measured", "Objective", "Passes"]
