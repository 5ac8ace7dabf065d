"""`method` with `type: custom`: an adapter of the user's own, from a package that is installed on the worker."""

from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from luthier.spec.base import Section


class CustomSpec(Section):
    """A function of the user's own that makes a base model trainable; see docs/custom-methods.md.

    It runs only on workers whose setting `LUTHIER_CUSTOM_METHODS` names it. What it trained is exported as `adapter`.
    """

    title: ClassVar[str] = "custom method"
    """For people."""
    makes_adapter: ClassVar[bool] = False
    """PEFT does not know this adapter, so that there is nothing to export as `peft`."""
    is_mergeable: ClassVar[bool] = False
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 2e-4
    """Of a job file that names none."""

    type: Literal["custom"]
    """The method."""
    entry_point: str = Field(pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_][\w.]*)?$", max_length=256)
    """A name in the entry-point group `luthier.methods`, or `module:function`."""
    options: dict[str, JsonValue] = Field(default={})
    """Handed to the function."""

    def describe(self) -> str:
        """One line for people."""
        options = ", ".join(f"{name} = {value}" for name, value in self.options.items())
        return f"custom method {self.entry_point}{f' ({options})' if options else ''}"
