"""`objective` with `type: distillation`: the model learns what a larger one finds likely, or what it says."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.objective.row_formats import ANSWERS, ANSWERS_AND_TEXTS


class DistillationSpec(Section):
    """Distillation on the rows of supervised fine-tuning.

    `logit`: of the teacher's probabilities at every token of the rows (Hinton et al., 2015, arXiv:1503.02531).
    `sequence`: of the teacher's own answers to the prompts of the rows (Kim and Rush, 2016, arXiv:1606.07947).
    """

    title: ClassVar[str] = "distillation"
    """For people."""
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
    level: Literal["logit", "sequence"] = "logit"
    """What of the teacher is learned: its probabilities, or its answers, for which it may have another vocabulary."""
    teacher: str = Field(min_length=1, max_length=512)
    """The model to learn from, named as `base_model` is. For `level: logit` it has the same vocabulary."""
    temperature: float = Field(default=2.0, ge=0, le=100)
    """`logit`: divides the logits of both before the softmax; larger shows more of what the teacher finds unlikely.
    `sequence`: divides the teacher's logits when it answers; 0, the default there, takes the likeliest token."""
    alpha: float = Field(default=0.5, ge=0, le=1)
    """`logit`: share of the teacher in the loss; the rest is the cross-entropy of the rows."""
    top_k: int = Field(default=64, ge=1, le=65536)
    """The teacher's likeliest tokens at each place. `logit`: that are told apart; all others count as one. `sequence`:
    that an answer with a temperature above 0 is drawn from."""
    max_new_tokens: int = Field(default=256, ge=1, le=8192)
    """`sequence`: longest answer; one that does not end by then is dropped."""
    num_samples: int = Field(default=1, ge=1, le=64)
    """`sequence`: answers to each prompt of the training rows, which takes a temperature above 0."""
    seed: int = Field(default=0, ge=0)
    """`sequence`: of the answers."""

    @property
    def row_formats(self) -> tuple[str, ...]:
        """What `data.format` may be; a plain text has no prompt that a teacher could answer."""
        return ANSWERS if self.level == "sequence" else ANSWERS_AND_TEXTS

    @model_validator(mode="before")
    @classmethod
    def _greedy_answers(cls, section: Any) -> Any:
        is_sequence = isinstance(section, dict) and section.get("level") == "sequence"
        return {"temperature": 0.0, **section} if is_sequence else section

    @model_validator(mode="after")
    def _keys_of_the_level(self) -> Self:
        of_others = ("alpha",) if self.level == "sequence" else ("max_new_tokens", "num_samples", "seed")
        for name in of_others:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no use with level: {self.level}; leave it out, or change level")
        if self.level == "logit" and self.temperature == 0:
            raise ValueError("temperature divides the logits and cannot be 0; give a number above 0, 2 for example")
        if self.num_samples > 1 and self.temperature == 0:
            raise ValueError(
                "num_samples asks for several answers to a prompt, and with temperature 0 all would be the same; set "
                "temperature above 0, or num_samples: 1"
            )
        return self

    def describe(self) -> str:
        """One line for people."""
        if self.level == "sequence":
            how = f"drawn at temperature {self.temperature:g}" if self.temperature else "greedy"
            return f"distillation from the answers of {self.teacher}, {self.num_samples} to a prompt, {how}"
        return (
            f"distillation from {self.teacher}, its {self.top_k} likeliest tokens at temperature {self.temperature:g}, "
            f"share {self.alpha:g}"
        )
