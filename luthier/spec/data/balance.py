"""`data.balance`: classes of about the same size among the training rows."""

from typing import Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class BalanceSpec(Section):
    """How rows with one label each are put into balance. Rows without a label are left alone."""

    method: Literal["oversample", "undersample", "smote"]
    """`oversample`: rows of small classes come again, each as often as the others but for one. `undersample`: rows of
    large classes are left out. `smote`: as `oversample`, but the rows that come again are those which the synthetic
    vectors of SMOTE (Chawla et al., 2002, arXiv:1106.1813) are nearest to: there is no text for a vector."""
    ratio: float = Field(default=1.0, gt=0.0, le=1.0)
    """Rows of the smallest class over those of the largest one, at least, when it is done."""
    neighbours: int = Field(default=5, ge=1, le=50)
    """Of `smote`: a synthetic vector lies between a row and one of as many nearest rows of its class."""
    rewrite: bool = False
    """Rows that come again are rewritten by `data.augment.methods`, and left out where that fails."""

    @model_validator(mode="after")
    def _every_setting_is_read(self) -> Self:
        if self.neighbours != BalanceSpec.model_fields["neighbours"].default and self.method != "smote":
            raise ValueError("neighbours has no use without method: smote; leave it out")
        if self.rewrite and self.method == "undersample":
            raise ValueError("rewrite has no use with method: undersample, which adds no rows; leave it out")
        return self
