"""`objective` with `type: classification`: the model learns which of a few labels a row has."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName


class ClassificationSpec(Section):
    """Sequence classification: a linear head reads the last token of a row; its rows have text or messages and label.

    The head takes the place of the output layer, and is trained beside whatever the method trains.
    """

    title: ClassVar[str] = "sequence classification"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = ("labelled_text", "labelled_chat")
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("accuracy", "macro_f1")
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 1.0
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = True
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["classification"]
    """The objective."""
    labels: list[str] | None = Field(default=None, min_length=2)
    """The classes, in the order of the head's outputs. Absent: those of the training split, sorted."""
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """What a row of each class counts in the loss; a class that is not named counts 1. `balanced`: as if all classes
    had equally many training rows."""

    @model_validator(mode="after")
    def _weights_of_labels(self) -> Self:
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels names a class twice; name each once")
        if isinstance(self.class_weights, dict):
            wrong = [label for label, weight in self.class_weights.items() if weight <= 0]
            if wrong:
                raise ValueError(f"class_weights of {wrong[0]!r} is not positive; give a number above 0")
            unknown = [label for label in self.class_weights if self.labels is not None and label not in self.labels]
            if unknown:
                raise ValueError(f"class_weights names {unknown[0]!r}, which is none of labels")
        return self

    def describe(self) -> str:
        """One line for people."""
        return "sequence classification with a head on the last token"
