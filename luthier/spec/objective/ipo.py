"""`objective` with `type: ipo`: of two answers, the better one becomes likelier by a fixed margin."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import PAIRS


class IpoSpec(Section):
    """Identity preference optimisation (Azar et al., 2023, arXiv:2310.12036) on pairs of answers."""

    title: ClassVar[str] = "identity preference optimisation"
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

    type: Literal["ipo"]
    """The objective."""
    beta: float = Field(default=0.1, gt=0)
    """The paper's tau: the margin in log-probability per token is `1 / (2 beta)`."""

    def describe(self) -> str:
        """One line for people."""
        return f"IPO on pairs of answers, beta = {self.beta:g}"
