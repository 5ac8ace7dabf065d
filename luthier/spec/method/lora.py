"""`method` with `type: lora`: a low-rank update beside the frozen base model."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.method.added_tokens import AddedTokens
from luthier.spec.method.targets import TargetModules, describe_targets


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
    """Rank of the update; at most the smaller side of every layer that gets one."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by `lora_alpha / r`, or by `lora_alpha / sqrt(r)` with `use_rslora`."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter."""
    target_modules: TargetModules = "all-linear"
    """Linear layers that get an adapter: a list of names, one regular expression for whole names, or `all-linear`
    (all but the output layer)."""
    use_rslora: bool = False
    """Rank-stabilised scaling (Kalajdzievski, 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed: the length of each row of a weight is trained apart from its direction (Liu et al., 2024,
    arXiv:2402.09353). Slower, for low ranks."""
    lora_plus_ratio: float = Field(default=1.0, ge=1.0)
    """LoRA+: learning rate of the matrices B as a multiple of that of A, such as 16 (Hayou et al., 2024,
    arXiv:2402.12354)."""
    init_lora_weights: Literal["default", "gaussian", "pissa", "olora"] = "default"
    """Where the update starts: at zero with uniform (`default`) or normal (`gaussian`) A; or at what it takes over from
    the weight: its principal singular vectors (`pissa`, Meng et al., 2024, arXiv:2404.02948) or the first columns of
    its QR decomposition (`olora`, Büyükakyüz, 2024, arXiv:2406.01775). These two save an adapter of twice the rank."""
    added_tokens: AddedTokens = Field(default=[])
    """Texts that become one token each, such as `<ticket>`, which the base model does not know. Of the embeddings, and
    of an output layer with weights of its own, only their rows are trained."""

    @property
    def borrows_start(self) -> bool:
        """Whether the update starts at something that is taken out of the frozen weights."""
        return self.init_lora_weights in ("pissa", "olora")

    @property
    def looks_at_weights(self) -> bool:
        """Whether the adapter cannot be made before the base model's weights are read."""
        return self.use_dora or self.borrows_start or bool(self.added_tokens)

    def describe(self) -> str:
        """One line for people."""
        extras = {
            ", rank-stabilised": self.use_rslora,
            ", weight-decomposed": self.use_dora,
            f", B {self.lora_plus_ratio:g} times as fast": self.lora_plus_ratio != 1,
            f", {self.init_lora_weights} start": self.init_lora_weights != "default",
        }
        return (
            f"LoRA on {describe_targets(self.target_modules)}, r = {self.r}, alpha = {self.lora_alpha:g}"
            f"{''.join(text for text, holds in extras.items() if holds)}, dropout = {self.lora_dropout:g}"
        )
