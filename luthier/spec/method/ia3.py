"""`method` with `type: ia3`: activations are rescaled by learned vectors."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from luthier.spec.base import Section
from luthier.spec.method.targets import TargetModules, describe_targets


class Ia3Spec(Section):
    """Infused adapter by inhibiting and amplifying inner activations (Liu et al., 2022, arXiv:2205.05638)."""

    title: ClassVar[str] = "IA3"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """The result is an adapter beside the base model."""
    is_mergeable: ClassVar[bool] = True
    """The vectors can be multiplied into the weights."""
    default_learning_rate: ClassVar[float] = 3e-3
    """Of a job file that names none: that of the paper, section 3.3."""

    type: Literal["ia3"]
    """The method."""
    target_modules: TargetModules = "auto"
    """Linear layers that are rescaled, as with `type: lora`; or `auto`: what PEFT names for the model's architecture,
    the layers of keys or queries, of values, and the second of the feed-forward part."""
    feedforward_modules: list[str] | None = None
    """Those of `target_modules` whose inputs are rescaled instead of their outputs. Absent: none, or with `auto` what
    PEFT names."""

    @model_validator(mode="after")
    def _feedforward_modules_are_targets(self) -> Self:
        if self.feedforward_modules is None:
            return self
        if self.target_modules == "auto":
            raise ValueError("feedforward_modules needs target_modules beside it; name them, or leave both out")
        if isinstance(self.target_modules, list) and (extra := set(self.feedforward_modules) - {*self.target_modules}):
            raise ValueError(
                f"feedforward_modules has {sorted(extra)[0]!r}, which target_modules has not; add it there"
            )
        return self

    def describe(self) -> str:
        """One line for people."""
        return f"IA3 on {describe_targets(self.target_modules)}"
