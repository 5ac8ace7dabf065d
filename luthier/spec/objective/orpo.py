"""`objective` with `type: orpo`: the better answer is learned, and its odds against the worse one are raised."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class OrpoSpec(Section):
    """Odds ratio preference optimisation (Hong et al., 2024, arXiv:2403.07691) on pairs; needs no reference."""

    title: ClassVar[str] = "odds ratio preference optimisation"
    """For people."""

    type: Literal["orpo"]
    """The objective."""
    beta: float = Field(default=0.1, gt=0)
    """The paper's lambda: what the odds ratio counts beside the likelihood of the better answer."""

    def describe(self) -> str:
        """One line for people."""
        return f"ORPO on pairs of answers, beta = {self.beta:g}"
