"""`method` with `type: prompt_tuning`: virtual tokens before every text, whose embeddings are trained."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class PromptTuningSpec(Section):
    """Prompt tuning (Lester et al., 2021, arXiv:2104.08691).

    The base model stays as it is, so that the result cannot be merged into it.
    """

    title: ClassVar[str] = "prompt tuning"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """Whether the result is an adapter beside the base model, so that there is something to export as `peft`."""
    is_mergeable: ClassVar[bool] = False
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 1e-2
    """Of a job file that names none."""

    type: Literal["prompt_tuning"]
    """The method."""
    num_virtual_tokens: int = Field(default=20, ge=1, le=2048)
    """They come before every text and count in the model's context, not in `data.max_length`."""
    init_text: str | None = Field(default=None, min_length=1)
    """Text whose tokens they start as, cut or repeated to their number. Absent: tokens of the vocabulary, by lot."""

    def describe(self) -> str:
        """One line for people."""
        start = f", from {self.init_text!r}" if self.init_text else ""
        return f"prompt tuning, {self.num_virtual_tokens} virtual tokens{start}"
