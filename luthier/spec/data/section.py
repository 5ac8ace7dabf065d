"""The section itself."""

from typing import Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.data.augment import AugmentSpec
from luthier.spec.data.balance import BalanceSpec
from luthier.spec.data.clean import CleanSpec, RepairSpec
from luthier.spec.data.curriculum import CurriculumSpec
from luthier.spec.data.decontaminate import DecontaminateSpec
from luthier.spec.data.deduplicate import DeduplicateSpec
from luthier.spec.data.engine import Engine
from luthier.spec.data.filters import FiltersSpec
from luthier.spec.data.location import DataPaths
from luthier.spec.data.mapping import Columns, MessageKeys, Roles, RowFormat
from luthier.spec.data.mixture import FileType, MixingSpec, Overlong, SourceSpec, check_sources
from luthier.spec.data.pii import PiiSpec
from luthier.spec.data.quality import QualitySpec
from luthier.spec.data.select import SelectSpec
from luthier.spec.data.split import SplitSpec
from luthier.spec.data.toxicity import ToxicitySpec


class DataSpec(Section):
    """Where the rows are and how they become training examples."""

    path: DataPaths | None = None
    """File, folder, pattern (`data/*.jsonl.gz`) or URI (`https://`, `s3://`, `gs://`, `hf://datasets/`) of the rows. A
    relative path is relative to the job file. A list of such is read in its order. Either this or `sources`."""
    sources: list[SourceSpec] | None = Field(default=None, min_length=1)
    """Several places of rows, each with a name."""
    mixing: MixingSpec = MixingSpec()
    """How much of each of `sources` is trained on."""
    validation_path: DataPaths | None = None
    """Rows for the validation loss. Absent: a part of `path`, see `validation_fraction`."""
    test_path: DataPaths | None = None
    """Rows for the evaluation. Absent: a part of `path`, see `test_fraction`."""
    file_type: FileType = "auto"
    """How the files are written; `auto` goes by their suffix. `jsonl`: JSON Lines or a JSON list; `csv`: also TSV."""
    format: RowFormat = "auto"
    """Shape of a row, see docs/data/shapes.md. `auto` goes by the columns, among the shapes that the objective learns
    from."""
    columns: Columns = Field(default={})
    """What the file calls the columns, by their names here: `{messages: dialog}`. `{input: null}`: it has none."""
    message_keys: MessageKeys = Field(default={})
    """What it calls the keys of a message: `{role: speaker, content: text}`."""
    roles: Roles = Field(default={})
    """What it calls those who speak: `{user: [customer], assistant: [agent, bot]}`."""
    system_prompt: str | None = None
    """Put before every conversation that has no system message of its own."""
    chat_template: str | None = Field(default=None, min_length=1)
    """Jinja template of conversations in place of the base model's: its text, or its path, relative to the job file.
    The trained model is saved and served with it."""
    max_length: int = Field(default=1024, ge=8, le=131072)
    """Longest example in tokens."""
    overlong: Overlong = "drop"
    """What happens to a longer one; the report counts them. `split` makes several examples of it, for pre-training;
    `raise` fails the job."""
    deduplicate: bool | DeduplicateSpec = True
    """Drop rows that are equal after normalising white space; the first one stays. A section says more."""
    decontaminate: DecontaminateSpec | None = None
    """Drop rows that overlap with benchmarks. Absent: nobody looks."""
    split: SplitSpec | None = None
    """Which rows go to validation and test. Absent: rows drawn at random; only equal ones stay together."""
    toxicity: ToxicitySpec | None = None
    """Which rows are toxic, and what becomes of them. Absent: nobody judges."""
    pii: PiiSpec | None = None
    """What becomes of personal data and secrets in the rows. Absent: they stay."""
    on_invalid_row: Literal["fail", "drop"] = "fail"
    """A row that cannot be read fails the job, or is dropped and named in the report."""
    repair: RepairSpec | None = None
    """Which faults in the turns of a conversation are mended. Absent: none."""
    clean: CleanSpec | None = None
    """What is mended in the words of rows. Absent: nothing."""
    filters: FiltersSpec | None = None
    """Which rows are dropped for what their text is like. Absent: none."""
    quality: QualitySpec = QualitySpec()
    """What the rows must be like for the job to go on."""
    validation_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Part of `path` used for validation when there is no `validation_path`."""
    test_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Part of `path` used for the evaluation when there is no `test_path`."""
    seed: int = Field(default=0, ge=0)
    """Of the split, of the rows that are drawn from `sources`, and of what is selected and augmented."""
    select: SelectSpec | None = None
    """Which training rows stay. Absent: all."""
    balance: BalanceSpec | None = None
    """Classes of about the same size. Absent: as they are."""
    augment: AugmentSpec | None = None
    """More training rows where there are few. Absent: none."""
    curriculum: CurriculumSpec | None = None
    """How difficult each row is. Absent: nobody knows."""

    engine: Engine = "local"
    """Where rows are read and tokenised: in the worker's own process, or on the Ray cluster at its LUTHIER_RAY_ADDRESS.
    The dataset is the same, byte for byte."""

    @model_validator(mode="after")
    def _rows_from_somewhere(self) -> Self:
        if (self.path is None) == (self.sources is None):
            what = "give path or sources" if self.path is None else "path and sources exclude each other; leave one out"
            raise ValueError(what)
        if self.sources is None:
            if self.mixing != MixingSpec():
                raise ValueError("mixing has no use without sources; leave it out")
            return self
        if self.validation_path or self.test_path:
            raise ValueError("validation_path and test_path belong to path; give them to each of sources instead")
        check_sources(self.sources, self.mixing)
        return self

    @model_validator(mode="after")
    def _rows_are_rewritten_by_something(self) -> Self:
        if self.balance is not None and self.balance.rewrite and self.augment is None:
            raise ValueError("balance.rewrite needs the methods of augment; give augment, or leave rewrite out")
        return self

    @model_validator(mode="after")
    def _something_left_to_train_on(self) -> Self:
        validation = 0.0 if self.validation_path else self.validation_fraction
        test = 0.0 if self.test_path else self.test_fraction
        if validation + test >= 1.0:
            raise ValueError("validation_fraction + test_fraction leave nothing to train on; make them smaller")
        return self

    @property
    def deduplication(self) -> DeduplicateSpec:
        """`deduplicate` as a section."""
        if isinstance(self.deduplicate, bool):
            return DeduplicateSpec(exact=self.deduplicate)
        return self.deduplicate
