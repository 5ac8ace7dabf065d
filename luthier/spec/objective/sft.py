"""`objective` with `type: sft`: the model learns to say what the rows say."""

from typing import ClassVar, Literal

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import ANSWERS_AND_TEXTS


class SftSpec(Section):
    """Supervised fine-tuning: cross-entropy on the assistant's answers, or on all of a plain text."""

    title: ClassVar[str] = "supervised fine-tuning"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = ANSWERS_AND_TEXTS
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity", "exact_match", "token_f1")
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["sft"] = "sft"
    """The objective."""
    train_on: Literal["all", "last"] = "all"
    """Which answers of a conversation are learned: all, or the last one. A message's own `weight` counts besides."""

    def describe(self) -> str:
        """One line for people."""
        return f"supervised fine-tuning on the assistant's {'answers' if self.train_on == 'all' else 'last answers'}"
