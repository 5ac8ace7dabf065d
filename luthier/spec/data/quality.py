"""`data.quality`: what the rows must be like for the job to go on."""

from typing import Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class QualitySpec(Section):
    """Thresholds on what the report says of the rows. A job that breaks one is refused with the parts that failed,
    before anything is tokenised or an accelerator is taken. A threshold that is absent is off."""

    report: bool = True
    """The report has a section about quality, with a score from 0 to 100."""
    min_score: float | None = Field(default=None, ge=0.0, le=100.0)
    """Lowest score."""
    min_rows: int | None = Field(default=None, ge=1)
    """Fewest rows that stay, in all splits."""
    max_invalid: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of the rows read that had a fault (`on_invalid_row: drop` leaves them out)."""
    max_encoding_faults: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of rows with signs of broken characters that are still there."""
    max_duplicates: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of good rows whose text another row has."""
    max_class_imbalance: float | None = Field(default=None, ge=1.0)
    """Most rows that the largest class may have for one row of the smallest."""
    min_classes: int | None = Field(default=None, ge=2)
    """Fewest classes."""
    max_label_noise: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of labelled rows whose label looks wrong."""
    max_other_languages: float | None = Field(default=None, ge=0.0, le=1.0)
    """Largest share of rows in languages other than the most frequent one."""

    @model_validator(mode="after")
    def _reported(self) -> Self:
        thresholds = [name for name in type(self).model_fields if name != "report"]
        given = [name for name in thresholds if getattr(self, name) is not None]
        if given and not self.report:
            raise ValueError(f"{given[0]} needs the section that report: false leaves out; set report: true")
        return self
