"""`objective` with `type: ipo`: of two answers, the better one becomes likelier by a fixed margin."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class IpoSpec(Section):
    """Identity preference optimisation (Azar et al., 2023, arXiv:2310.12036) on pairs of answers."""

    title: ClassVar[str] = "identity preference optimisation"
    """For people."""

    type: Literal["ipo"]
    """The objective."""
    beta: float = Field(default=0.1, gt=0)
    """The paper's tau: the margin in log-probability per token is `1 / (2 beta)`."""

    def describe(self) -> str:
        """One line for people."""
        return f"IPO on pairs of answers, beta = {self.beta:g}"
