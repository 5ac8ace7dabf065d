"""`objective` with `type: dpo`: of two answers, the better one becomes likelier than it was."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class DpoSpec(Section):
    """Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290) on pairs of answers."""

    title: ClassVar[str] = "direct preference optimisation"
    """For people."""

    type: Literal["dpo"]
    """The objective."""
    beta: float = Field(default=0.1, gt=0)
    """How close the model is kept to the one that training starts from; larger is closer."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=0.5)
    """How often a pair is thought to be the wrong way round ("conservative" DPO)."""

    def describe(self) -> str:
        """One line for people."""
        smoothing = f", label smoothing = {self.label_smoothing:g}" if self.label_smoothing else ""
        return f"DPO on pairs of answers, beta = {self.beta:g}{smoothing}"
