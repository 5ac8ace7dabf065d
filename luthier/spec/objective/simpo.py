"""`objective` with `type: simpo`: the better answer becomes likelier per token than the worse one, by a margin."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import PAIRS


class SimpoSpec(Section):
    """Simple preference optimisation (Meng et al., 2024, arXiv:2405.14734) on pairs; needs no reference."""

    title: ClassVar[str] = "simple preference optimisation"
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

    type: Literal["simpo"]
    """The objective."""
    beta: float = Field(default=2.0, gt=0)
    """Scale of the log-probability per token."""
    gamma: float = Field(default=1.0, ge=0)
    """By how much the scaled log-probabilities are to differ."""

    def describe(self) -> str:
        """One line for people."""
        return f"SimPO on pairs of answers, beta = {self.beta:g}, gamma = {self.gamma:g}"
