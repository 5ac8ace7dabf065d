"""`data.sources` and `data.mixing`: rows from several places in one run, and how much is taken of each."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.data.location import DataPaths
from luthier.spec.data.mapping import Columns, MessageKeys, Roles, RowFormat

FileType = Literal["auto", "jsonl", "csv", "parquet", "arrow"]
Overlong = Literal["drop", "truncate", "split", "raise"]


class SourceSpec(Section):
    """One of several places that rows come from. What it leaves out is as `data` says."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """What reports and metrics call it."""
    path: DataPaths
    """As `data.path`."""
    validation_path: DataPaths | None = None
    """As `data.validation_path`. Absent: a part of `path`."""
    test_path: DataPaths | None = None
    """As `data.test_path`. Absent: a part of `path`."""
    weight: float | None = Field(default=None, ge=0.0)
    """How often its rows are drawn, relative to those of the others. Absent: 1; 0: they are only validated and tested
    on."""
    max_samples: int | None = Field(default=None, ge=1)
    """At most so many rows of `path`, drawn by `data.seed` before the splits are made."""
    objective: Literal["sft", "pretrain"] | None = None
    """What is learned from its rows: the answers, or every token. Absent: as the job's objective has it."""
    format: RowFormat | None = None
    """As `data.format`."""
    columns: Columns | None = None
    """As `data.columns`."""
    message_keys: MessageKeys | None = None
    """As `data.message_keys`."""
    roles: Roles | None = None
    """As `data.roles`."""
    file_type: FileType | None = None
    """As `data.file_type`."""
    system_prompt: str | None = None
    """As `data.system_prompt`."""
    overlong: Overlong | None = None
    """As `data.overlong`."""


class MixingSpec(Section):
    """How the training rows of several sources become one set (Raffel et al., 2020, arXiv:1910.10683, section 3.5.2).

    Unless they are put one after the other, each row is from a source drawn at random, until a source is exhausted, as
    in `datasets.interleave_datasets`.
    """

    strategy: Literal["auto", "concatenate", "weighted", "proportional", "temperature"] = "auto"
    """`concatenate`: all rows of all sources, once. `weighted`: a source is drawn by its weight; `proportional`: by its
    weight times its rows; `temperature`: by its weight times its rows to the power of 1 / temperature. `auto`:
    `weighted` when a source has a weight, else `concatenate`."""
    temperature: float = Field(default=2.0, ge=1.0, le=100.0)
    """1 is `proportional`; the larger, the more equal are the sources."""
    stopping_strategy: Literal["first_exhausted", "all_exhausted"] = "first_exhausted"
    """Rows are drawn until all rows of one source are in, and the others lack some; or until all rows of every source
    are in, and some are repeated."""


def check_sources(sources: Sequence[SourceSpec], mixing: MixingSpec) -> None:
    """
    Raises:
        ValueError: the sources cannot be told apart, or cannot be mixed like this.
    """
    names = [source.name for source in sources]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"sources has the name {doubled[0]!r} more than once; give each source a name of its own")
    weights = [source.weight for source in sources if source.weight is not None]
    if len(weights) == len(sources) and not any(weights):
        raise ValueError("the weight of every one of sources is 0, so nothing would be trained on; raise one")
    if weights and mixing.strategy == "concatenate":
        raise ValueError(
            "sources have weights, which mixing.strategy: concatenate does not look at; leave them out, or take "
            "weighted, proportional or temperature"
        )
    if mixing.temperature != MixingSpec().temperature and mixing.strategy != "temperature":
        raise ValueError("mixing.temperature has no use without mixing.strategy: temperature; leave it out")
