"""`method` with `type: prefix_tuning`: keys and values before every text, trained in every layer."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.training import TrainingSpec


class PrefixTuningSpec(Section):
    """Prefix tuning (Li & Liang, 2021, arXiv:2101.00190).

    The base model stays as it is, so that the result cannot be merged into it.
    """

    title: ClassVar[str] = "prefix tuning"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """Whether the result is an adapter beside the base model, so that there is something to export as `peft`."""
    is_mergeable: ClassVar[bool] = False
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 1e-2
    """Of a job file that names none."""

    type: Literal["prefix_tuning"]
    """The method."""
    num_virtual_tokens: int = Field(default=20, ge=1, le=2048)
    """They come before every text and count in the model's context, not in `data.max_length`."""
    init_text: str | None = Field(default=None, min_length=1)
    """Text whose keys and values they start as, cut or repeated to their number. Absent: those of tokens of the
    vocabulary, by lot."""
    prefix_projection: bool = False
    """Train a network that makes the keys and values, instead of them (section 4.3 of the paper). It starts at random
    and only what it makes is saved. Wants a rate of about 5e-5."""
    encoder_hidden_size: int | None = Field(default=None, ge=1, le=65536)
    """Width of that network. Absent: that of the keys of one layer."""

    @model_validator(mode="after")
    def _fields_of_the_network(self) -> Self:
        if self.prefix_projection and self.init_text is not None:
            raise ValueError("init_text does not fit prefix_projection, whose network starts at random; leave one out")
        if self.encoder_hidden_size is not None and not self.prefix_projection:
            raise ValueError("encoder_hidden_size is the width of a network that is off; set prefix_projection: true")
        return self

    def check_suits(self, training: TrainingSpec) -> None:
        """
        Raises:
            ValueError: activations would be computed again without the prefix.
        """
        if training.gradient_checkpointing != "none":
            raise ValueError(
                "method.type prefix_tuning puts keys and values into every layer, which "
                f"training.gradient_checkpointing {training.gradient_checkpointing} drops; set it to none"
            )

    def describe(self) -> str:
        """One line for people."""
        extras = ", through a network" if self.prefix_projection else ""
        extras += f", from {self.init_text!r}" if self.init_text else ""
        return f"prefix tuning, {self.num_virtual_tokens} virtual tokens{extras}"
