"""`data.decontaminate`: rows that give away what the model will be tested on."""

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.data.location import DataPath


class DecontaminateSpec(Section):
    """Rows that overlap with a benchmark are dropped (Brown et al., 2020, arXiv:2005.14165, appendix C)."""

    paths: list[DataPath] = Field(min_length=1)
    """Where the benchmarks are, as `data.path`, in files of any type that is read. Every text in their rows counts,
    whatever their columns are called."""
    columns: list[str] | None = Field(default=None, min_length=1)
    """Columns of the benchmarks that count. Absent: all."""
    ngram: int = Field(default=13, ge=8, le=64)
    """A row that shares so many words in a row with a benchmark is dropped. A benchmark's text with fewer words, but at
    least 8, has to occur as a whole."""
    max_shared: int = Field(default=10, ge=1)
    """N-grams that more than so many rows of the benchmarks share are their instructions, and do not count."""
    near: float | None = Field(default=None, ge=0.5, le=1.0)
    """Also drop rows whose estimated similarity to a benchmark's row is so high, see `data.deduplicate.near`."""
