"""`objective` with `type: reward`: the model learns to score answers, the better one of a pair higher."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import PAIRS


class RewardSpec(Section):
    """A reward model after Bradley and Terry (1952), as in Ouyang et al. (2022, arXiv:2203.02155), on pairs of answers.

    A linear head with one score takes the place of the output layer and reads the last token.
    """

    title: ClassVar[str] = "reward model"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = PAIRS
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 2
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("preference_accuracy",)
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = True
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["reward"]
    """The objective."""
    center_rewards_coefficient: float = Field(default=0.0, ge=0)
    """How strongly the two scores of a pair are drawn to a mean of zero (Eisenstein et al., 2023, arXiv:2312.09244)."""

    def describe(self) -> str:
        """One line for people."""
        return "reward model on pairs of answers, with a head on the last token"
