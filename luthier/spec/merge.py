"""`merge`: a model out of adapters that are there already, in place of `method` and `training`."""

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from luthier.spec.base import Section

MergeType = Literal["linear", "ties", "dare_linear", "dare_ties"]
_TITLES: dict[MergeType, str] = {
    "linear": "linear merge",
    "ties": "TIES merge",
    "dare_linear": "DARE merge",
    "dare_ties": "DARE-TIES merge",
}


class AdapterSource(Section):
    """One of the adapters: LoRA as PEFT saves it, of the job's `base_model`."""

    path: str = Field(min_length=1)
    """Folder with `adapter_config.json`, or the artifact of an earlier job's train, merge or export stage in the same
    project. A relative path is relative to the job file."""
    weight: float
    """What the change that it makes counts. Weights are taken as they are: they need not add up to 1."""


class MergeSpec(Section):
    """The base model's weights, changed by what several adapters would change them by; see docs/ensembles.md."""

    type: MergeType
    """`linear`: the weighted sum of the changes (task arithmetic, arXiv:2212.04089). `ties`: only the largest of each,
    and where signs differ only those of the elected sign, averaged (arXiv:2306.01708). `dare_linear`, `dare_ties`:
    random ones of each, scaled up for those that are dropped (arXiv:2311.03099), then as above."""
    adapters: list[AdapterSource] = Field(min_length=1, max_length=64)
    """What is merged."""
    density: float | None = Field(default=None, gt=0, le=1)
    """Part of each change that is kept. `linear` has none; all others need it."""
    majority_sign: Literal["total", "frequency"] = "total"
    """How `ties` and `dare_ties` elect a sign: by the sum of the changes, or by their number."""
    seed: int = Field(default=0, ge=0)
    """Of what DARE drops."""
    svd_rank: int | None = Field(default=None, ge=1, le=4096)
    """Bring the merged change of every matrix down to this rank, the nearest one there is (Eckart & Young, 1936), so
    that it is an adapter again. Not exact; the report says how much is lost."""
    output: Literal["adapter", "model"] | None = Field(default=None, validate_default=True)
    """What is left. `adapter`: a LoRA adapter; exact for `linear` (of the sum of the ranks), with `svd_rank` for the
    others. `model`: a whole model; exact but for the rounding of its weights. Absent: an adapter where that is exact or
    `svd_rank` is given."""

    @field_validator("output")
    @classmethod
    def _an_adapter_where_it_is_one(cls, output: str | None, info: ValidationInfo) -> str | None:
        return output or ("adapter" if info.data.get("type") == "linear" or info.data.get("svd_rank") else "model")

    @model_validator(mode="after")
    def _what_suits_the_type(self) -> Self:
        if self.type == "linear" and self.density is not None:
            raise ValueError("density is for the other types, which drop part of a change; leave it out")
        if self.type != "linear" and self.density is None:
            raise ValueError(f"type {self.type} needs density, the part of each change that is kept, such as 0.5")
        if self.output == "model" and self.svd_rank is not None:
            raise ValueError("svd_rank is for an adapter, and output is model; leave one of them out")
        if self.output == "adapter" and self.type != "linear" and self.svd_rank is None:
            raise ValueError(
                f"what {self.type} leaves has no low rank, so that an adapter of it cannot be exact; give svd_rank, "
                "or output: model"
            )
        return self

    @property
    def title(self) -> str:
        """For people."""
        return _TITLES[self.type]

    @property
    def makes_adapter(self) -> bool:
        """Whether the result is an adapter, so that there is something to export as `peft`."""
        return self.output == "adapter"

    def describe(self) -> str:
        """One line for people."""
        density = "" if self.density is None else f", density = {self.density:g}"
        sign = f", sign by {self.majority_sign}" if "ties" in self.type else ""
        seed = f", seed = {self.seed}" if "dare" in self.type else ""
        rank = "" if self.svd_rank is None else f", rank {self.svd_rank}"
        weights = ", ".join(f"{adapter.weight:g}" for adapter in self.adapters)
        return f"{self.title} of {len(self.adapters)} adapters, weights {weights}{density}{sign}{seed}{rank}"
