"""`objective`: what the model learns from a row. One section per objective, told apart by `type`.

A new objective is one file with its section here, one member of `ObjectiveSpec`, and one row in
`workers/training/objectives`.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator

from luthier.spec.objective.sft import SftSpec


def _with_type(section: Any) -> Any:
    """Supervised fine-tuning, where a job file names no objective."""
    return {"type": "sft", **section} if isinstance(section, dict) else section


ObjectiveSpec = Annotated[SftSpec, BeforeValidator(_with_type)]

__all__ = ["ObjectiveSpec", "SftSpec"]
