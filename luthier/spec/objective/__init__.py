"""`objective`: what the model learns from a row. One section per objective, told apart by `type`.

A new objective is one file with its section here, one member of `ObjectiveSpec`, and one row in
`workers/training/objectives`.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from luthier.spec.objective.classification import ClassificationSpec
from luthier.spec.objective.distillation import DistillationSpec
from luthier.spec.objective.dpo import DpoSpec
from luthier.spec.objective.grpo import GrpoSpec
from luthier.spec.objective.ipo import IpoSpec
from luthier.spec.objective.kto import KtoSpec
from luthier.spec.objective.orpo import OrpoSpec
from luthier.spec.objective.pretrain import PretrainSpec
from luthier.spec.objective.reward import RewardSpec
from luthier.spec.objective.sft import SftSpec
from luthier.spec.objective.simpo import SimpoSpec


def _with_type(section: Any) -> Any:
    """Supervised fine-tuning, where a job file names no objective."""
    return {"type": "sft", **section} if isinstance(section, dict) else section


ObjectiveSpec = Annotated[
    SftSpec
    | PretrainSpec
    | ClassificationSpec
    | RewardSpec
    | DistillationSpec
    | DpoSpec
    | GrpoSpec
    | IpoSpec
    | KtoSpec
    | OrpoSpec
    | SimpoSpec,
    Field(discriminator="type"),
    BeforeValidator(_with_type),
]

__all__ = [
    "ClassificationSpec",
    "DistillationSpec",
    "DpoSpec",
    "GrpoSpec",
    "IpoSpec",
    "KtoSpec",
    "ObjectiveSpec",
    "OrpoSpec",
    "PretrainSpec",
    "RewardSpec",
    "SftSpec",
    "SimpoSpec",
]
