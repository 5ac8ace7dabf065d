"""`data.toxicity`: which rows are toxic, by whose judgement, and what becomes of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class ModelJudgeSpec(Section):
    """A text classifier of transformers, on the worker's CPU."""

    type: Literal["model"]
    """The kind."""
    path: str = Field(min_length=1)
    """Its folder (safetensors, no code of its own). A relative path is relative to the job file."""
    labels: list[str] | None = Field(default=None, min_length=1)
    """Those of its labels that count. Absent: those with `toxic` in their name."""


class EndpointJudgeSpec(Section):
    """The OpenAI-compatible moderation endpoint that the worker's LUTHIER_MODERATION_URL names."""

    type: Literal["endpoint"]
    """The kind."""
    model: str | None = Field(default=None, min_length=1)
    """Name of the model there. Absent: the endpoint's own choice."""
    categories: list[str] | None = Field(default=None, min_length=1)
    """Those of its categories that count. Absent: all."""


class WordsJudgeSpec(Section):
    """A list of words and phrases, which count in any case and as whole words."""

    type: Literal["words"]
    """The kind."""
    path: str = Field(min_length=1)
    """Text file (UTF-8) with one of them per line; lines that start with # are comments. A relative path is relative
    to the job file."""


class ToxicitySpec(Section):
    """Rows with a toxic text: a message, an argument of a tool, a rejected answer."""

    classifier: Annotated[ModelJudgeSpec | EndpointJudgeSpec | WordsJudgeSpec, Field(discriminator="type")]
    """Who judges."""
    threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    """A text is toxic from this score on. Has no use with `words`."""
    action: Literal["drop", "report"] = "drop"
    """Leave such rows out, or only count them."""

    @model_validator(mode="after")
    def _words_have_no_scores(self) -> Self:
        if isinstance(self.classifier, WordsJudgeSpec) and "threshold" in self.model_fields_set:
            raise ValueError(
                "threshold has no use with a word list, in which a text has a word or has not; leave it out"
            )
        return self

    @property
    def path(self) -> str | None:
        """What the judge reads; None: nothing."""
        return None if isinstance(self.classifier, EndpointJudgeSpec) else self.classifier.path
