"""What a pass works on: rows, documents and targets, from the job file and what is known of the data."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from luthier.spec import GrpoSpec, JobSpec, TrainingSpec


@dataclass(frozen=True)
class DataFigures:
    """What is known of the training split. None: not known."""

    num_rows: int | None = None
    """Texts, of which a pair of answers has two."""
    num_tokens: int | None = None
    num_targets: int | None = None
    """Tokens that the loss counts."""
    longest: int | None = None
    """Tokens of the longest row."""
    num_shared: int = 0
    """Tokens that all rows begin with, such as a system prompt: a pass computes them once."""
    num_repeated: int = 0
    """Tokens behind those that a pair's worse answer begins with as the better one does: computed with that one."""
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
    """Of a document behind what all share, the padding to the longest of its length class included."""
    padding: float
    """Places of the padded batch that attention works on, per token of the row."""
    accumulation: int
    """Passes in one optimizer step."""
    num_steps: int | None
    """Of the whole run; None: not known."""
    num_tokens: int | None
    """Of the documents of the whole run, over all devices; None: not known."""
    num_shared: int = 0
    """Tokens at the start of the pass that all its documents continue."""
    stretch: float = 1.0
    """Tokens of a document for each one that is its own."""
    unfolded: float = 1.0
    """Tokens that attention works on for each one of the row: what the two answers of a pair share, it has twice."""
    by_transformers: bool = False
    """Whether the code of transformers computes it, as in TRL's loop, and not workers/training/kernels."""

    @property
    def counted_tokens(self) -> float:
        """Tokens of the documents of a pass, what they share counted for each: those of `tokens_per_second`."""
        return (self.row_tokens - self.num_shared) * self.stretch

    def resized(self, share: float) -> "Workload":
        """With passes of another size."""
        own = max(1, round((self.row_tokens - self.num_shared) * share))
        return replace(self, row_tokens=self.num_shared + own, num_targets=max(1, round(self.num_targets * share)))


_PADDING = 1.33  # lengths between a power of two and the next are padded to the longest: 4/3 on average
_ROUND_KEYS = 16  # and to a multiple of so many keys (workers/training/layout.py)


def read_report(document: Mapping[str, Any]) -> DataFigures:
    """The figures of a data report (report.json of the preprocess stage)."""
    train = document["splits"]["train"]
    lengths = train.get("lengths", {})
    num_tokens = int(train["num_tokens"])
    return DataFigures(
        num_rows=round(num_tokens / float(lengths["mean"])) if "mean" in lengths else int(train["num_rows"]),
        num_tokens=num_tokens,
        num_targets=int(train["num_trainable_tokens"]),
        longest=int(lengths["max"]) if "max" in lengths else None,
        num_shared=int(train.get("num_shared_tokens", 0)),
        num_repeated=int(train.get("num_repeated_tokens", 0)),
        source="the data report",
    )


def workload_of(spec: JobSpec, data: DataFigures) -> Workload:
    """The largest pass of a job. Where the data is not known, rows are full and every token is a target.

    What all documents begin with stands in a pass once, and so does what both answers of a pair do; what is their own
    fills the rest of it (workers/training/packing.py).
    """
    if isinstance(spec.objective, GrpoSpec):
        return _answers(spec.objective, spec.training, min(spec.data.max_length, data.longest or spec.data.max_length))
    training = spec.training
    longest = min(spec.data.max_length, data.longest or spec.data.max_length)
    shared = min(data.num_shared, longest - 1)
    mean = data.mean_length or longest
    own = max(1.0, mean - shared)
    computed = max(1.0, own - data.num_repeated / data.num_rows) if data.num_rows else own
    row = training.pack_length if training.packing else longest
    own_tokens = training.per_device_train_batch_size * max(1, row - shared)
    part = 1.0
    if data.num_rows and data.num_tokens:
        all_own = round(data.num_rows * computed)
        own_tokens = min(own_tokens, all_own)
        part = 1.0 if data.num_targets is None else min(1.0, data.num_targets / all_own)
    # No document is longer than the longest one, but for the round number of keys that its group is padded to.
    alike = max(1, round(min(longest - shared, own * _PADDING)))
    document_tokens = -(-(shared + alike) // _ROUND_KEYS) * _ROUND_KEYS - shared
    work = Workload(
        row_tokens=shared + own_tokens,
        num_targets=max(1, round(own_tokens * part)),
        document_tokens=document_tokens,
        padding=min(_PADDING, (longest - shared) / alike) * document_tokens / alike * own / computed,
        accumulation=training.gradient_accumulation_steps,
        num_steps=training.max_steps,
        num_tokens=None,
        num_shared=shared,
        stretch=mean / computed,
        unfolded=own / computed,
    )
    num_steps, num_tokens = _length(training, data, work)
    return replace(work, num_steps=num_steps, num_tokens=num_tokens)


def _answers(objective: GrpoSpec, training: TrainingSpec, prompt: int) -> Workload:
    """A pass over sampled answers, each behind its prompt, padded by TRL to the longest that there may be. How long
    they will be, and so how long the run takes, is not known."""
    rows, answer = training.per_device_train_batch_size, objective.max_completion_length
    return Workload(
        row_tokens=rows * (prompt + answer),
        num_targets=rows * answer,
        document_tokens=prompt + answer,
        padding=1.0,
        accumulation=training.gradient_accumulation_steps,
        num_steps=training.max_steps,
        num_tokens=None,
        by_transformers=True,
    )


def _length(training: TrainingSpec, data: DataFigures, work: Workload) -> tuple[int | None, int | None]:
    """`num_steps` and `num_tokens` of the run, as far as they are known."""
    per_step = work.counted_tokens * work.accumulation
    if training.max_steps is not None:
        return training.max_steps, round(training.max_steps * per_step)
    if data.num_tokens is None:
        return None, None
    epochs = training.num_train_epochs
    return max(1, round(epochs * math.ceil(data.num_tokens / per_step))), round(epochs * data.num_tokens)
