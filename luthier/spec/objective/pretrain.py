"""`objective` with `type: pretrain`: the model learns texts as they are."""

from typing import ClassVar, Literal

from luthier.spec.base import Section


class PretrainSpec(Section):
    """Continued pre-training: cross-entropy on every token. Conversations are texts as the chat template writes them.

    Texts longer than `data.max_length` are best cut into windows: `data.overlong: split`.
    """

    title: ClassVar[str] = "continued pre-training"
    """For people."""

    type: Literal["pretrain"]
    """The objective."""

    def describe(self) -> str:
        """One line for people."""
        return "continued pre-training on every token"
