"""What a pass works on: rows, documents and targets, from the job file and what is known of the data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.spec import JobSpec


@dataclass(frozen=True)
class DataFigures:
    """What is known of the training split. None: not known."""

    num_rows: int | None = None
    num_tokens: int | None = None
    num_targets: int | None = None
    """Tokens that the loss counts."""
    longest: int | None = None
    """Tokens of the longest row."""
    source: str = "nothing: the data was not looked at"
    """Where it is known from, for people."""

    @property
    def mean_length(self) -> float | None:
        """Tokens of a row."""
        return self.num_tokens / self.num_rows if self.num_tokens and self.num_rows else None


@dataclass(frozen=True)
class Workload:
    """One forward pass at its largest, and the run."""

    row_tokens: int
    """T: tokens of one pass on one device."""
    num_targets: int
    """Tokens of them that the loss counts."""
    document_tokens: int
    """Of a document, the padding to the longest of its length class included."""
    padding: float
    """Places of the padded batch that attention works on, per token."""
    accumulation: int
    """Passes in one optimizer step."""
    num_steps: int | None
    """Of the whole run; None: not known."""
    num_tokens: int | None
    """Of the whole run, over all devices; None: not known."""


_PADDING = 1.33  # lengths between a power of two and the next are padded to the longest: 4/3 on average


def read_report(document: Mapping[str, Any]) -> DataFigures:
    """The figures of a data report (report.json of the preprocess stage)."""
    train = document["splits"]["train"]
    lengths = train.get("lengths", {})
    return DataFigures(
        num_rows=int(train["num_rows"]),
        num_tokens=int(train["num_tokens"]),
        num_targets=int(train["num_trainable_tokens"]),
        longest=int(lengths["max"]) if "max" in lengths else None,
        source="the data report",
    )


def workload_of(spec: JobSpec, data: DataFigures) -> Workload:
    """The largest pass of a job. Where the data is not known, rows are full and every token is a target."""
    training = spec.training
    longest = min(spec.data.max_length, data.longest or spec.data.max_length)
    rows = training.per_device_train_batch_size
    row_tokens = rows * (training.pack_length if training.packing else longest)
    if data.num_tokens is not None:
        row_tokens = min(row_tokens, data.num_tokens)
    part = data.num_targets / data.num_tokens if data.num_targets is not None and data.num_tokens else 1.0
    mean = data.mean_length or longest
    document_tokens = round(min(longest, mean * _PADDING))
    num_steps = training.max_steps
    tokens_per_step = row_tokens * training.gradient_accumulation_steps
    if num_steps is None and data.num_tokens is not None:
        num_steps = max(1, round(training.num_train_epochs * -(-data.num_tokens // tokens_per_step)))
    num_tokens = None if num_steps is None else num_steps * tokens_per_step
    if training.max_steps is None and data.num_tokens is not None:
        num_tokens = round(training.num_train_epochs * data.num_tokens)
    return Workload(
        row_tokens=row_tokens,
        num_targets=max(1, round(row_tokens * part)),
        document_tokens=document_tokens,
        # No document is longer than the longest one, padded or not.
        padding=min(_PADDING, longest / document_tokens),
        accumulation=training.gradient_accumulation_steps,
        num_steps=num_steps,
        num_tokens=num_tokens,
    )
