"""`data.curriculum`: how difficult each row is, for a training that goes from easy to hard, or the other way round."""

from typing import Literal

from pydantic import Field

from luthier.spec.base import Section


class CurriculumSpec(Section):
    """Where rows say how difficult they are (curriculum learning: Bengio et al., 2009, doi:10.1145/1553374.1553380).

    `training.order: easy_first` and `hard_first` go by it.
    """

    difficulty_by: str = Field(min_length=1)
    """Column with a number, the larger the harder."""
    on_missing: Literal["refuse", "last"] = "refuse"
    """A row of `path` without a value there is invalid (see `on_invalid_row`), or is trained on last, in either
    order."""
