"""`objective` with `type: classification`: the model learns which of a few labels a row has."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName

CLASS_METRICS: tuple[MetricName, ...] = ("accuracy", "micro_f1", "macro_f1")
"""Those that compare classes."""

_ROW_FORMATS = {False: ("labelled_text", "labelled_chat"), True: ("multi_labelled_text", "multi_labelled_chat")}
"""By `multi_label`."""


class ClassificationSpec(Section):
    """Sequence classification: a linear head reads the last token of a row, which is text or messages.

    Each row has one label, or with `multi_label` any number of them. The head takes the place of the output layer, and
    is trained beside whatever the method trains.
    """

    title: ClassVar[str] = "sequence classification"
    """For people."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = True
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["classification"]
    """The objective."""
    multi_label: bool = False
    """Whether a row has any number of labels, or none, instead of exactly one."""
    threshold: float | None = Field(default=None, gt=0, lt=1)
    """`multi_label`: the probability from which on a label is given to a row. Absent: 0.5."""
    labels: list[str] | None = Field(default=None, min_length=1)
    """The classes, in the order of the head's outputs: two or more, with `multi_label` one or more. Absent: those of
    the training split, sorted."""
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """What a row of each class counts in the loss; a class that is not named counts 1. `balanced`: as if all classes
    had equally many training rows. With `multi_label`: what having the class counts beside not having it; `balanced`:
    as if of each class as many rows had it as had not."""

    @property
    def row_formats(self) -> tuple[str, ...]:
        """What `data.format` may be."""
        return _ROW_FORMATS[self.multi_label]

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Of a job file that names none. With one label to a row, micro F1 is the accuracy."""
        return ("micro_f1", "macro_f1", "accuracy") if self.multi_label else ("accuracy", "macro_f1")

    @model_validator(mode="before")
    @classmethod
    def _usual_threshold(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("multi_label") is True and section.get("threshold") is None:
            return {**section, "threshold": 0.5}
        return section

    @model_validator(mode="after")
    def _threshold_of_several_labels(self) -> Self:
        if self.threshold is not None and not self.multi_label:
            raise ValueError(
                "threshold has no use where each row gets its likeliest label; leave it out, or set multi_label: true"
            )
        return self

    @model_validator(mode="after")
    def _classes_differ(self) -> Self:
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels names a class twice; name each once")
        if self.labels is not None and len(self.labels) < 2 and not self.multi_label:
            raise ValueError(
                "labels names one class, which every row would have; name two or more, or set multi_label: true"
            )
        return self

    @model_validator(mode="after")
    def _weights_of_classes(self) -> Self:
        if isinstance(self.class_weights, dict):
            wrong = [label for label, weight in self.class_weights.items() if weight <= 0]
            if wrong:
                raise ValueError(f"class_weights of {wrong[0]!r} is not positive; give a number above 0")
            unknown = [label for label in self.class_weights if self.labels is not None and label not in self.labels]
            if unknown:
                raise ValueError(f"class_weights names {unknown[0]!r}, which is none of labels")
        return self

    def key_for(self, row_format: str | None) -> str:
        """The key to change for rows of a format that is none of `row_formats`."""
        return "objective.multi_label" if row_format in _ROW_FORMATS[not self.multi_label] else "objective.type"

    def describe(self) -> str:
        """One line for people."""
        if self.multi_label:
            return f"multi-label classification with a head on the last token, threshold {self.threshold:g}"
        return "sequence classification with a head on the last token"
