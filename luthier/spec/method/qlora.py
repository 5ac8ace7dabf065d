"""`method` with `type: qlora`: LoRA beside a base model that is held in 4 bits."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.method.added_tokens import AddedTokens
from luthier.spec.method.lora import LoraSpec
from luthier.spec.method.targets import TargetModules


class QloraSpec(Section):
    """LoRA on 4-bit weights (Dettmers et al., 2023, arXiv:2305.14314). Fields as with `type: lora`.

    Starts that take something out of the base weights (`pissa`, `olora`) do not fit: what is taken out could not be
    given back to weights of 4 bits.
    """

    title: ClassVar[str] = "QLoRA"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """Whether the result is an adapter beside the base model, so that there is something to export as `peft`."""
    is_mergeable: ClassVar[bool] = True
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-4
    """Of a job file that names none."""

    type: Literal["qlora"]
    """The method."""
    double_quant: bool = True
    """Quantise the scales of the blocks of 64 weights too: 4.13 bits per weight instead of 4.5."""
    r: int = Field(default=16, ge=1, le=1024)
    """Rank of the update; at most the smaller side of every layer that gets one."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by `lora_alpha / r`, or by `lora_alpha / sqrt(r)` with `use_rslora`."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter."""
    target_modules: TargetModules = "all-linear"
    """Linear layers that get an adapter: a list of names, one regular expression for whole names, or `all-linear`
    (all but the output layer). All linear layers but the output layer are held in 4 bits, whichever these are."""
    use_rslora: bool = False
    """Rank-stabilised scaling (Kalajdzievski, 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Weight-decomposed (Liu et al., 2024, arXiv:2402.09353)."""
    lora_plus_ratio: float = Field(default=1.0, ge=1.0)
    """LoRA+: learning rate of the matrices B as a multiple of that of A (Hayou et al., 2024, arXiv:2402.12354)."""
    added_tokens: AddedTokens = Field(default=[])
    """Texts that become one token each, such as `<ticket>`, which the base model does not know. Of the embeddings, and
    of an output layer with weights of its own, only their rows are trained."""

    def as_lora(self) -> LoraSpec:
        """The same adapter, beside weights that are not quantised."""
        return LoraSpec.model_validate(self.model_dump(exclude={"type", "double_quant"}))

    def describe(self) -> str:
        """One line for people."""
        return f"{self.as_lora().describe()}; base in NF4{', double quantisation' if self.double_quant else ''}"
