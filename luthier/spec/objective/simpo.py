"""`objective` with `type: simpo`: the better answer becomes likelier per token than the worse one, by a margin."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class SimpoSpec(Section):
    """Simple preference optimisation (Meng et al., 2024, arXiv:2405.14734) on pairs; needs no reference."""

    title: ClassVar[str] = "simple preference optimisation"
    """For people."""

    type: Literal["simpo"]
    """The objective."""
    beta: float = Field(default=2.0, gt=0)
    """Scale of the log-probability per token."""
    gamma: float = Field(default=1.0, ge=0)
    """By how much the scaled log-probabilities are to differ."""

    def describe(self) -> str:
        """One line for people."""
        return f"SimPO on pairs of answers, beta = {self.beta:g}, gamma = {self.gamma:g}"
