"""Looks at the rows between the two passes once, batch by batch: counters and a bounded sample, never all texts.

Of several sources each has counters and a sample of its own beside those of the whole.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.data import problems
from workers.data.dedup import Decisions
from workers.data.dedup.index import files_of, read_codes
from workers.data.problems import Ledger
from workers.data.quality.encoding import broken_rows
from workers.data.quality.label_sets import set_quality
from workers.data.quality.labels import LabelQuality, Place, label_quality
from workers.data.quality.lengths import Lengths
from workers.data.quality.sample import Sample, SampledRow
from workers.data.quality.score import Quality
from workers.data.quality.vocabulary import vocabulary_of
from workers.data.sources import SourceFile
from workers.data.splits.classes import Classes, read_classes
from workers.data.splits.label_sets import LabelSets
from workers.data.storage.scratch import content_of, plain_text, read_scratch

_COLUMNS = ("messages", "text", "notes", "fingerprint", "language")
_SAMPLE_ROWS = 2000
_NUM_SHOWN = 20
_MEASURES = ("characters", "words", "turns")


@dataclass(frozen=True)
class Assessment:
    """The quality of a dataset."""

    whole: Quality
    by_part: Sequence[Quality]
    """That of each part, in their order; none where there is but one."""


def assess(
    rows: Path,
    decisions: Decisions,
    files: Sequence[SourceFile],
    part_of_file: Sequence[int],
    ledgers: Sequence[Ledger],
) -> Assessment:
    """The quality of the rows in the sub-folders of `rows`, which are those that no step dropped.

    Args:
        decisions: which of them stay.
        files: that they are from.
        part_of_file: of each file.
        ledgers: of each part, of the rows that a step dropped.
    """
    owners = np.array(part_of_file)[decisions.file]
    whole, parts = _Look(), [_Look() for _ in ledgers] if len(ledgers) > 1 else []
    words = np.zeros(len(owners), np.uint64)
    for start, batch in read_scratch(rows, _COLUMNS):
        measured = _measure(start, batch)
        for look in (whole, *([parts[owners[start]]] if parts else ())):
            look.add(measured)
        _note_words(measured, batch, words)

    def place(ordinal: int) -> tuple[str, int]:
        return files[decisions.file[ordinal]].name, int(decisions.row[ordinal])

    sets = LabelSets.of(*read_codes(files_of(rows), "labels"))
    known = _Known(decisions, read_classes(rows, len(owners)), sets, words, place)
    return Assessment(
        _quality(whole, Ledger.of(ledgers), np.ones(len(owners), np.bool_), known),
        [_quality(look, ledgers[part], owners == part, known) for part, look in enumerate(parts)],
    )


@dataclass(frozen=True)
class _Known:
    """What is known of all rows."""

    decisions: Decisions
    classes: Classes
    sets: LabelSets | None
    """None: no row has a set of classes."""
    words: npt.NDArray[np.uint64]
    """[rows]: of those with a label, a hash that is equal for equal words."""
    place: Place


def _quality(look: "_Look", ledger: Ledger, own: npt.NDArray[np.bool_], known: _Known) -> Quality:
    """That of the rows in [rows] `own`, which `look` has seen; `ledger` has those that were dropped before."""
    decisions = known.decisions
    empty = ledger.counts[problems.EMPTY]
    num_good = int(own.sum())
    sample = look.sample.rows
    return Quality(
        num_read=num_good + ledger.counts.total(),
        num_empty=empty + ledger.counts[problems.EMPTY_AFTER_CLEANING],
        num_invalid=ledger.num_invalid - empty,
        num_good=num_good,
        num_kept=int((decisions.split[own] >= 0).sum()),
        num_duplicates=int((decisions.twin[own] != np.flatnonzero(own)).sum()),
        num_broken=look.num_broken,
        broken=[
            dict(zip(("source", "row", "text"), (*known.place(ordinal), text), strict=True))
            for ordinal, text in look.broken
        ],
        lengths=look.lengths,
        languages=dict(look.languages.most_common()),
        vocabulary=vocabulary_of([row.text for row in sample]),
        labels=_labels(own, sample, known),
    )


def _labels(own: npt.NDArray[np.bool_], sample: Sequence[SampledRow], known: _Known) -> LabelQuality | None:
    """Of the labels of the rows in [rows] `own`, or of their sets of labels."""
    if known.sets is not None:
        return set_quality(known.sets, own, known.words, sample, known.place)
    classes = Classes(known.classes.names, np.where(own, known.classes.codes, -1))
    return label_quality(classes, known.words, sample, known.place)


@dataclass(frozen=True)
class _Measured:
    """A batch of rows, the first of which has the ordinal `start`."""

    start: int
    texts: list[str]
    lengths: dict[str, npt.NDArray[np.int64]]
    """[rows] by measure."""
    languages: list[str]
    """Of those rows of which it is known."""
    broken: list[int]
    """Places of rows with broken characters."""
    fingerprints: pa.Array


class _Look:
    """What is kept of the rows while they go by."""

    def __init__(self) -> None:
        self.lengths = {name: Lengths() for name in _MEASURES}
        self.languages: Counter[str] = Counter()
        self.sample = Sample(_SAMPLE_ROWS)
        self.num_broken = 0
        self.broken: list[tuple[int, str]] = []

    def add(self, batch: _Measured) -> None:
        """Takes the rows of a batch."""
        for name, values in batch.lengths.items():
            self.lengths[name].add(values)
        self.languages.update(batch.languages)
        self.num_broken += len(batch.broken)
        shown = batch.broken[: _NUM_SHOWN - len(self.broken)]
        self.broken += [(batch.start + place, batch.texts[place][:200]) for place in shown]
        self.sample.add(batch.start, batch.fingerprints, batch.texts)


def _measure(start: int, batch: pa.RecordBatch) -> _Measured:
    """Of rows with `_COLUMNS`."""
    messages, plain = (batch[name].to_pylist() for name in ("messages", "text"))
    contents = [content_of(chat, text) for chat, text in zip(messages, plain, strict=True)]
    texts = [plain_text(content) for content in contents]
    turns = [
        1 if isinstance(content, str) else sum(message["role"] != "system" for message in content)
        for content in contents
    ]
    values = ([len(text) for text in texts], [len(text.split()) for text in texts], turns)
    return _Measured(
        start,
        texts,
        {name: np.array(own, np.int64) for name, own in zip(_MEASURES, values, strict=True)},
        [language for language in batch["language"].to_pylist() if language is not None],
        broken_rows(texts),
        batch["fingerprint"],
    )


def _note_words(measured: _Measured, batch: pa.RecordBatch, words: npt.NDArray[np.uint64]) -> None:
    """Puts the hashes of rows with notes into [rows] `words`."""
    for index in np.flatnonzero(batch["notes"].is_valid().to_numpy(zero_copy_only=False)).tolist():
        normal = " ".join(measured.texts[index].split()).encode()
        digest = hashlib.blake2b(normal, digest_size=8).digest()
        words[measured.start + index] = int.from_bytes(digest, "big")
