"""`data.deduplicate`: which rows count as copies of one another."""

from typing import Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class NearSpec(Section):
    """Near duplicates by MinHash and LSH (Broder, 1997; Leskovec et al., Mining of Massive Datasets, chapter 3).

    Two rows are near duplicates when the n-grams of their words have an estimated Jaccard similarity of `threshold` or
    more.
    """

    threshold: float = Field(default=0.7, ge=0.5, le=1.0)
    """Similarity from which on two rows are near duplicates. With `ngram: 2`, every tenth word changed makes 0.68,
    every twentieth 0.82."""
    num_perm: int = Field(default=128, ge=32, le=512, multiple_of=8)
    """Hashes of a row's signature. The similarity is estimated with a standard error of at most 0.5 / sqrt(num_perm),
    and a row takes about 2 x `num_perm` bytes of scratch space."""
    ngram: int = Field(default=2, ge=1, le=13)
    """Words of an n-gram. Short ones see an edit in a short chat for what it is; long texts may take 3 to 5."""


class DeduplicateSpec(Section):
    """Exact and near duplicates, each on or off."""

    exact: bool = True
    """Drop rows that are equal after normalising white space; the first one stays."""
    near: NearSpec | None = None
    """Drop rows that are almost equal; of each cluster the first one stays, for each label or set of labels. `{}`
    takes the defaults."""

    @model_validator(mode="after")
    def _near_means_exact(self) -> Self:
        if self.near is not None and not self.exact:
            raise ValueError(
                "equal rows are near duplicates too, so near has no use with exact: false; set exact: true, or leave "
                "near out"
            )
        return self
