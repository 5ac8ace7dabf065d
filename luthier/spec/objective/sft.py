"""`objective` with `type: sft`: the model learns to say what the rows say."""

from typing import ClassVar, Literal

from luthier.spec.base import Section


class SftSpec(Section):
    """Supervised fine-tuning: cross-entropy on the assistant's answers, or on all of a plain text."""

    title: ClassVar[str] = "supervised fine-tuning"
    """For people."""

    type: Literal["sft"] = "sft"
    """The objective."""
    train_on: Literal["all", "last"] = "all"
    """Which answers of a conversation are learned: all, or the last one. A message's own `weight` counts besides."""

    def describe(self) -> str:
        """One line for people."""
        return f"supervised fine-tuning on the assistant's {'answers' if self.train_on == 'all' else 'last answers'}"
