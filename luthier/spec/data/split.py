"""`data.split`: which rows of `path` go to validation and test. How many is said by their fractions."""

from typing import Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class SplitSpec(Section):
    """How rows are split. Rows that belong together never come to stand on two sides."""

    stratify_by: str | None = Field(default=None, min_length=1)
    """Give every split the same mix of this: `label` (of a row with several: of each), `language`, or the name of a
    column."""
    group_by: str | None = Field(default=None, min_length=1)
    """Column whose value rows must share to stay together, such as a customer."""
    time_by: str | None = Field(default=None, min_length=1)
    """Column with a date, a time (ISO 8601) or a number: the latest rows go to test, those before them to
    validation."""
    near_duplicates_together: bool = True
    """Keep near duplicates on one side too, even where they are not dropped."""

    @model_validator(mode="after")
    def _one_order(self) -> Self:
        if self.time_by is not None and self.stratify_by is not None:
            raise ValueError("stratify_by draws rows at random and time_by takes the latest; leave one of the two out")
        return self
