"""`objective` with `type: distillation`: the model learns what a larger one finds likely."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName


class DistillationSpec(Section):
    """Distillation of logits (Hinton et al., 2015, arXiv:1503.02531) on the rows of supervised fine-tuning."""

    title: ClassVar[str] = "distillation"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = ("chat", "prompt_completion", "alpaca", "text")
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity", "exact_match", "token_f1")
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["distillation"]
    """The objective."""
    teacher: str = Field(min_length=1, max_length=512)
    """The model to learn from, named as `base_model` is, with the same vocabulary."""
    temperature: float = Field(default=2.0, gt=0, le=100)
    """Divides the logits of both before the softmax; larger shows more of what the teacher finds unlikely."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher in the loss; the rest is the cross-entropy of the rows."""
    top_k: int = Field(default=64, ge=1, le=65536)
    """The teacher's likeliest tokens that are told apart at each place; all others count as one."""

    def describe(self) -> str:
        """One line for people."""
        return (
            f"distillation from {self.teacher}, its {self.top_k} likeliest tokens at temperature {self.temperature:g}, "
            f"share {self.alpha:g}"
        )
