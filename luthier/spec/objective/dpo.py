"""`objective` with `type: dpo`: of two answers, the better one becomes likelier than it was."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import PAIRS


class DpoSpec(Section):
    """Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290) on pairs of answers."""

    title: ClassVar[str] = "direct preference optimisation"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = PAIRS
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 2
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity", "preference_accuracy")
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 0.1
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

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
