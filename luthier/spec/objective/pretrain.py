"""`objective` with `type: pretrain`: the model learns texts as they are."""

from typing import ClassVar, Literal

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import ANSWERS_AND_TEXTS


class PretrainSpec(Section):
    """Continued pre-training: cross-entropy on every token. Conversations are texts as the chat template writes them.

    Texts longer than `data.max_length` are best cut into windows: `data.overlong: split`.
    """

    title: ClassVar[str] = "continued pre-training"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = ANSWERS_AND_TEXTS
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity",)
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["pretrain"]
    """The objective."""

    def describe(self) -> str:
        """One line for people."""
        return "continued pre-training on every token"
