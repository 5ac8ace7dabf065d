"""`data.balance` and `data.augment` at work: rows that come again, and rows that are made of others."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from luthier.spec.data.augment import AugmentSpec
from workers.data.augment.added import AddedRows
from workers.data.augment.making import Making
from workers.data.augment.methods import Tools, methods_of
from workers.data.augment.remembering import REPLIES_FILE, RememberingWriter, Replies
from workers.data.augment.writer import Writers
from workers.data.dataset import SPLITS
from workers.data.dedup import Decisions
from workers.data.outcome import Outcome
from workers.data.places import CheckReadable
from workers.data.stop import check_stop
from workers.data.storage.scratch import read_scratch, scratch_schema
from workers.task import Report

_TRAIN = SPLITS.index("train")


def add_rows(
    rows: Path,
    decisions: Decisions,
    copies: npt.NDArray[np.int32],
    outcome: Outcome,
    spec: DataSpec,
    check_readable: CheckReadable,
    writers: Writers,
    report: Report,
) -> Path:
    """A folder with one sub-folder of added rows per part, numbered from 0 in each; counted in `outcome`.

    Args:
        rows: scratch folder.
        decisions: on all of its rows.
        copies: [rows]: how many times each is to come again, for the balance of classes.
        outcome: gets the counts.
        spec: with `balance` and `augment`.
        check_readable: asked before a thesaurus is read.
        writers: asked for the model.
        report: told of the progress.

    Raises:
        ConfigError: a method cannot work.
        DependencyError: an endpoint does not answer.
        PreemptedError: the worker drains.
    """
    folder = rows.parent / "added"
    folder.mkdir()
    num_training = int((decisions.split == _TRAIN).sum())
    num_missing = max(0, spec.augment.min_samples - num_training - int(copies.sum())) if spec.augment else 0
    if not copies.any() and not num_missing:
        return folder
    outcome.augmentation.num_wanted = int(copies.sum()) + num_missing
    rewrites = spec.balance is not None and spec.balance.rewrite
    with AddedRows.open(folder, scratch_schema(rows), outcome) as added:
        if spec.balance is not None and not rewrites:
            _repeat(rows, copies, added, spec.balance.method, report)
            outcome.augmentation.num_added += int(copies.sum())
        if spec.augment is not None and (num_missing or rewrites):
            file = writers.replies or rows.parent / REPLIES_FILE
            with _writer(spec.augment, writers, file, report) as writer:
                methods = methods_of(spec.augment, Tools(check_readable, writer))
                making = Making(rows, decisions, outcome, spec, methods, added, report)
                if rewrites:
                    making.balance(copies)
                making.fill(
                    spec.augment.min_samples - num_training - outcome.augmentation.num_added, spec.augment.max_copies
                )
                outcome.augmentation.usage = None if writer is None else writer.usage
    return folder


@contextmanager
def _writer(
    augment: AugmentSpec, writers: Writers, replies: Path, report: Report
) -> Iterator[RememberingWriter | None]:
    """The model of a job that needs one. What it answered is kept, however the block is left."""
    if augment.writer is None:
        yield None
        return
    with closing(Replies(replies)) as memory:
        try:
            yield RememberingWriter(writers.open(augment.writer), augment.writer, memory, writers.keep, report)
        finally:
            writers.keep()


def _repeat(rows: Path, copies: npt.NDArray[np.int32], added: AddedRows, mark: str, report: Report) -> None:
    """Rows as they are, as many times as [rows] `copies` says."""
    for start, batch in read_scratch(rows):
        own = copies[start : start + batch.num_rows]
        if own.any():
            check_stop(report)
            again = np.repeat(np.arange(batch.num_rows), own)
            added.write(batch.take(again), [mark] * len(again))
