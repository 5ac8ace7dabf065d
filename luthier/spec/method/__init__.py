"""`method`: which weights are trained, and how. One section per method, told apart by `type`.

A new method is one file with its section here, one member of `MethodSpec`, and one row in
`workers/training/methods`.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from luthier.spec.method.adalora import AdaloraSpec
from luthier.spec.method.bottleneck import BottleneckSpec
from luthier.spec.method.custom import CustomSpec
from luthier.spec.method.freeze import FreezeSpec
from luthier.spec.method.full import FullSpec
from luthier.spec.method.hft import HftSpec
from luthier.spec.method.ia3 import Ia3Spec
from luthier.spec.method.lora import LoraSpec
from luthier.spec.method.oft import OftSpec
from luthier.spec.method.prefix_tuning import PrefixTuningSpec
from luthier.spec.method.prompt_tuning import PromptTuningSpec
from luthier.spec.method.qlora import QloraSpec
from luthier.spec.method.spiel import SpielSpec
from luthier.spec.method.xlora import XloraSpec


def _with_type(section: Any) -> Any:
    """LoRA, where a job file names no method."""
    return {"type": "lora", **section} if isinstance(section, dict) else section


MethodSpec = Annotated[
    LoraSpec
    | OftSpec
    | Ia3Spec
    | AdaloraSpec
    | FullSpec
    | FreezeSpec
    | HftSpec
    | QloraSpec
    | BottleneckSpec
    | PromptTuningSpec
    | PrefixTuningSpec
    | SpielSpec
    | XloraSpec
    | CustomSpec,
    Field(discriminator="type"),
    BeforeValidator(_with_type),
]

__all__ = [
    "AdaloraSpec",
    "BottleneckSpec",
    "CustomSpec",
    "FreezeSpec",
    "FullSpec",
    "HftSpec",
    "Ia3Spec",
    "LoraSpec",
    "MethodSpec",
    "OftSpec",
    "PrefixTuningSpec",
    "PromptTuningSpec",
    "QloraSpec",
    "SpielSpec",
    "XloraSpec",
]
