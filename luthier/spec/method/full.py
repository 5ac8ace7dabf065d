"""`method` with `type: full`: every weight of the base model is trained."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.method.added_tokens import AddedTokens


class FullSpec(Section):
    """Full fine-tuning. Needs 16 bytes of memory per parameter, and `training.learning_rate` is 2e-5 unless set."""

    title: ClassVar[str] = "full fine-tuning"
    """For people."""
    makes_adapter: ClassVar[bool] = False
    """The result is a whole model: there is nothing to export as `peft`."""
    is_mergeable: ClassVar[bool] = True
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-5
    """Of a job file that names none: a rate that suits an adapter's fresh weights would wreck trained ones."""

    type: Literal["full"]
    """The method."""
    added_tokens: AddedTokens = Field(default=[])
    """Texts that become one token each, such as `<ticket>`, which the base model does not know."""

    def describe(self) -> str:
        """One line for people."""
        return "full fine-tuning, every parameter"
