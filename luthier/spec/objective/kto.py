"""`objective` with `type: kto`: single answers, each with a label that says whether it is a good one."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName


class KtoSpec(Section):
    """Kahneman-Tversky optimisation (Ethayarajh et al., 2024, arXiv:2402.01306) on answers with a label."""

    title: ClassVar[str] = "Kahneman-Tversky optimisation"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = ("labelled_completion", "labelled_answer", "labelled_stepwise")
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity",)
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 0.1
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["kto"]
    """The objective."""
    beta: float = Field(default=0.1, gt=0)
    """How close the model is kept to the one that training starts from; larger is closer."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """What a good answer counts. With few of them, raise it until the weighted sums of both kinds are alike."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """What a bad answer counts."""

    def describe(self) -> str:
        """One line for people."""
        return (
            f"KTO on answers with a label, beta = {self.beta:g}, "
            f"weights {self.desirable_weight:g} and {self.undesirable_weight:g}"
        )
