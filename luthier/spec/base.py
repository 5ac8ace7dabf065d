"""What every section of the job file has in common: strict, closed, immutable."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section. Unknown keys and wrong types are errors; the string under a field is its documentation."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
