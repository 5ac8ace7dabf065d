"""`data.select`: which training rows are worth their time. Validation and test rows are never touched."""

from typing import Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class InfluenceSpec(Section):
    """A core set in the style of DEFT-UCS (Das and Khetan, 2023, arXiv:2310.16776): rows are clustered, and from each
    cluster come the ones nearest to its centre (easy) and the ones farthest from it (hard)."""

    keep: float = Field(gt=0.0, le=1.0)
    """Part of the training rows of each source that stays."""
    hard: float = Field(default=0.5, ge=0.0, le=1.0)
    """Part of them that is taken from the far end of its cluster; the others are the nearest."""
    num_clusters: int | None = Field(default=None, ge=1, le=1024)
    """Of each source. Absent: the square root of half its rows, at most 256."""
    embedding_model: str | None = Field(default=None, min_length=1)
    """Folder of a transformers model whose mean last hidden state stands for a row. Absent: hashed words and pairs of
    words, which need no model."""


class SelectSpec(Section):
    """What is asked is done in this order, each of what is left; at least one is asked."""

    fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    """Part of the training rows of each source, drawn by `data.seed`. A smaller part is a part of a larger one."""
    influence: InfluenceSpec | None = None
    """Leaves out rows that other rows stand for."""
    max_per_class: int | None = Field(default=None, ge=1)
    """At most so many training rows of each label, drawn by `data.seed`; rows without a label are not counted. A
    row with several labels counts for each, and rows of rare ones come first."""
    max_rows: int | None = Field(default=None, ge=1)
    """At most so many training rows of all sources together, drawn by `data.seed`."""

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if not any((self.fraction, self.influence, self.max_per_class, self.max_rows)):
            raise ValueError("nothing is asked; give fraction, influence, max_per_class or max_rows, or leave it out")
        return self
