"""`objective` with `type: orpo`: the better answer is learned, and its odds against the worse one are raised."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import PAIRS


class OrpoSpec(Section):
    """Odds ratio preference optimisation (Hong et al., 2024, arXiv:2403.07691) on pairs; needs no reference."""

    title: ClassVar[str] = "odds ratio preference optimisation"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = PAIRS
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 2
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity", "preference_accuracy")
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["orpo"]
    """The objective."""
    beta: float = Field(default=0.1, gt=0)
    """The paper's lambda: what the odds ratio counts beside the likelihood of the better answer."""

    def describe(self) -> str:
        """One line for people."""
        return f"ORPO on pairs of answers, beta = {self.beta:g}"
