"""What is minimised, by the name that the job file uses.

A new objective is one file with a class that has the four methods of `Objective`, one row here, and its section in
`luthier/spec/objective`.
"""

from collections.abc import Callable
from typing import Any

from workers.training.objectives.base import Measured, Objective, Passes
from workers.training.objectives.sft import Sft

OBJECTIVES: dict[str, Callable[[Any], Objective]] = {
    "sft": Sft,
}

__all__ = ["OBJECTIVES", "Measured", "Objective", "Passes"]
