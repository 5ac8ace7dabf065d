"""`method` with `type: xlora`: several trained LoRA adapters, mixed anew for every token."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class XloraSpec(Section):
    """Mixture of LoRA experts (X-LoRA, Buehler & Buehler, 2024, arXiv:2402.07148).

    A small network reads what the base model makes of a token and says how much each adapter counts. What is mixed
    differs from token to token, so that the result cannot be merged; see docs/ensembles.md.
    """

    title: ClassVar[str] = "mixture of LoRA experts"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """Whether the result is an adapter beside the base model, so that there is something to export as `peft`."""
    is_mergeable: ClassVar[bool] = False
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-4
    """Of a job file that names none."""

    type: Literal["xlora"]
    """The method."""
    experts: list[str] = Field(min_length=2, max_length=64)
    """The adapters, LoRA without DoRA, of the job's `base_model`: folders with `adapter_config.json`, or artifacts of
    earlier jobs' train, merge or export stages in the same project. A relative path is relative to the job file."""
    layerwise_scalings: bool = True
    """Mix in every layer in another way; else in all layers alike."""
    xlora_depth: int = Field(default=1, ge=1, le=16)
    """Layers of the network that mixes."""
    xlora_size: int = Field(default=2048, ge=1, le=65536)
    """Its width between them; of no matter with one layer."""
    xlora_dropout_p: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Dropout between them."""
    softmax_temperature: float = Field(default=1.0, gt=0)
    """Below 1 the mixture gets nearer to one adapter alone."""
    top_k_lora: int | None = Field(default=None, ge=1)
    """How many adapters count for a token in a layer. Absent: all."""
    use_trainable_adapters: bool = False
    """Train the adapters too, from what they are."""

    @model_validator(mode="after")
    def _there_is_something_to_mix(self) -> Self:
        again = sorted({path for path in self.experts if self.experts.count(path) > 1})
        if again:
            raise ValueError(f"experts has {again[0]!r} twice; name each adapter once")
        if self.top_k_lora is not None and self.top_k_lora >= len(self.experts):
            raise ValueError(
                f"top_k_lora ({self.top_k_lora}) leaves none of the {len(self.experts)} experts out; lower it, or "
                f"leave it out"
            )
        return self

    def describe(self) -> str:
        """One line for people."""
        some = "" if self.top_k_lora is None else f", {self.top_k_lora} for each token"
        trained = ", trained too" if self.use_trainable_adapters else ""
        return f"X-LoRA over {len(self.experts)} adapters{some}{trained}"
