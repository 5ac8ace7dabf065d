"""`method` with `type: freeze`: some of the base model's own weights are trained, the others stay."""

import re
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from luthier.spec.base import Section


class FreezeSpec(Section):
    """Layer freezing: the last blocks of the base model are trained, and further modules if they are named.

    `training.learning_rate` is 2e-5 unless set.
    """

    title: ClassVar[str] = "layer freezing"
    """For people."""
    makes_adapter: ClassVar[bool] = False
    """The result is a whole model: there is nothing to export as `peft`."""
    is_mergeable: ClassVar[bool] = True
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-5
    """Of a job file that names none."""

    type: Literal["freeze"]
    """The method."""
    num_trainable_layers: int = Field(default=2, ge=0)
    """Blocks that are trained, counted from the output."""
    trainable_modules: list[str] | str = Field(default=[])
    """Further modules, in any block: a list of names (`q_proj`, `layers.0.mlp`), or one regular expression for their
    whole names."""
    train_embeddings: bool = False
    """Train the input embeddings too, and with them an output layer that shares their weights."""

    @field_validator("trainable_modules")
    @classmethod
    def _is_an_expression(cls, modules: list[str] | str) -> list[str] | str:
        if isinstance(modules, str):
            try:
                re.compile(modules)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
        return modules

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if not (self.num_trainable_layers or self.trainable_modules or self.train_embeddings):
            raise ValueError("everything is frozen; raise num_trainable_layers or name trainable_modules")
        return self

    def describe(self) -> str:
        """One line for people."""
        named = [self.trainable_modules] if isinstance(self.trainable_modules, str) else self.trainable_modules
        parts = [f"the last {self.num_trainable_layers} blocks"] if self.num_trainable_layers else []
        parts += [*named, *(["embeddings"] if self.train_embeddings else [])]
        return f"layer freezing, trained: {', '.join(parts)}"
