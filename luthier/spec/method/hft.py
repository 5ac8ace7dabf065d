"""`method` with `type: hft`: half of the weights of every block are trained."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class HftSpec(Section):
    """Half fine-tuning (Hui et al., 2024, arXiv:2404.18466). `training.learning_rate` is 2e-5 unless set."""

    title: ClassVar[str] = "half fine-tuning"
    """For people."""
    makes_adapter: ClassVar[bool] = False
    """The result is a whole model: there is nothing to export as `peft`."""
    is_mergeable: ClassVar[bool] = True
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-5
    """Of a job file that names none."""

    type: Literal["hft"]
    """The method."""
    seed: int = Field(default=0, ge=0)
    """Of the choice. A further round of tuning takes another one, so that other weights rest."""

    def describe(self) -> str:
        """One line for people."""
        return f"half fine-tuning, half of each block's matrices, seed {self.seed}"
