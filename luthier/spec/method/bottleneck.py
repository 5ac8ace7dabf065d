"""`method` with `type: bottleneck`: small networks behind the frozen attention and feed-forward parts."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section


class BottleneckSpec(Section):
    """Bottleneck adapters (Houlsby et al., 2019, arXiv:1902.00751).

    They are no change of the base model's weights, so that they cannot be merged, and neither PEFT nor transformers
    knows them: they are exported as `adapter`, which `workers.models.tuned.load_adapted` loads.
    """

    title: ClassVar[str] = "bottleneck adapters"
    """For people."""
    makes_adapter: ClassVar[bool] = False
    """PEFT does not know this adapter, so that there is nothing to export as `peft`."""
    is_mergeable: ClassVar[bool] = False
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 5e-4
    """Of a job file that names none."""

    type: Literal["bottleneck"]
    """The method."""
    bottleneck_size: int = Field(default=64, ge=1, le=8192)
    """Width of the small network between its two layers; less than that of the model."""
    after: Literal["both", "attention", "feed_forward"] = "both"
    """Behind which part of every block there is one. `both`: as in the paper; `feed_forward`: half the parameters
    (Pfeiffer et al., 2020, arXiv:2005.00247)."""
    activation: Literal["gelu", "relu", "silu"] = "gelu"
    """Between its two layers."""

    def describe(self) -> str:
        """One line for people."""
        where = {"both": "attention and feed-forward", "attention": "attention", "feed_forward": "feed-forward"}
        return f"bottleneck adapters of {self.bottleneck_size} after {where[self.after]}, {self.activation}"
