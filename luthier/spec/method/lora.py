"""`method` with `type: lora`: a low-rank update beside the frozen base model."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class LoraSpec(Section):
    """Low-rank adaptation (Hu et al., 2021, arXiv:2106.09685)."""

    title: ClassVar[str] = "LoRA"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """Whether the result is an adapter beside the base model, so that there is something to export as `peft`."""
    is_mergeable: ClassVar[bool] = True
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-4
    """Of a job file that names none."""

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

    def describe(self) -> str:
        """One line for people."""
        where = self.target_modules if isinstance(self.target_modules, str) else ", ".join(self.target_modules)
        scaling = ", rank-stabilised" if self.use_rslora else ""
        return f"LoRA on {where}, r = {self.r}, alpha = {self.lora_alpha:g}{scaling}, dropout = {self.lora_dropout:g}"
