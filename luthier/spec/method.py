"""`method`: which weights are trained."""

from typing import Literal

from pydantic import Field

from luthier.spec.base import Section


class MethodSpec(Section):
    """Low-rank adaptation (Hu et al., 2021, arXiv:2106.09685)."""

    type: Literal["lora"] = "lora"
    """The method."""
    r: int = Field(default=16, ge=1, le=1024)
    """Rank of the update."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by `lora_alpha / r`, or by `lora_alpha / sqrt(r)` with `use_rslora`."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter."""
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    """Names of the linear layers that get an adapter, or `all-linear` (all but the output layer)."""
    use_rslora: bool = False
    """Rank-stabilised scaling (Kalajdzievski, 2023, arXiv:2312.03732)."""
