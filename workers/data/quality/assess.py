"""Looks at the rows between the two passes once, batch by batch: counters and a bounded sample, never all texts."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.data import problems
from workers.data.dedup import Decisions
from workers.data.problems import Ledger
from workers.data.quality.encoding import broken_rows
from workers.data.quality.labels import label_quality
from workers.data.quality.lengths import Lengths
from workers.data.quality.sample import Sample
from workers.data.quality.score import Quality
from workers.data.quality.vocabulary import vocabulary_of
from workers.data.row import Content
from workers.data.sources import SourceFile
from workers.data.splits.classes import read_classes
from workers.data.storage.scratch import content_of, plain_text, read_scratch

_COLUMNS = ("messages", "text", "notes", "fingerprint", "language")
_SAMPLE_ROWS = 2000
_NUM_SHOWN = 20


def assess(rows: Path, decisions: Decisions, files: Sequence[SourceFile], ledger: Ledger) -> Quality:
    """The quality of the rows in the sub-folders of `rows`, which are those that no step dropped.

    Args:
        decisions: which of them stay.
        files: that they are from.
        ledger: of the rows that a step dropped.
    """
    look = _Look(len(decisions.split))
    for start, batch in read_scratch(rows, _COLUMNS):
        look.add(start, batch)

    def place(ordinal: int) -> tuple[str, int]:
        return files[decisions.file[ordinal]].name, int(decisions.row[ordinal])

    sample = look.sample.rows
    classes = read_classes(rows, len(decisions.split))
    empty = ledger.counts[problems.EMPTY]
    return Quality(
        num_read=len(decisions.split) + ledger.counts.total(),
        num_empty=empty + ledger.counts[problems.EMPTY_AFTER_CLEANING],
        num_invalid=ledger.num_invalid - empty,
        num_good=len(decisions.split),
        num_kept=int((decisions.split >= 0).sum()),
        num_duplicates=int((decisions.twin != np.arange(len(decisions.twin))).sum()),
        num_broken=look.num_broken,
        broken=[
            dict(zip(("source", "row", "text"), (*place(ordinal), text), strict=True)) for ordinal, text in look.broken
        ],
        lengths=look.lengths,
        languages=dict(look.languages.most_common()),
        vocabulary=vocabulary_of([row.text for row in sample]),
        labels=label_quality(classes, look.texts, sample, place),
    )


class _Look:
    """What is kept of the rows while they go by."""

    def __init__(self, num_rows: int) -> None:
        self.lengths = {name: Lengths() for name in ("characters", "words", "turns")}
        self.languages: Counter[str] = Counter()
        self.sample = Sample(_SAMPLE_ROWS)
        self.num_broken = 0
        self.broken: list[tuple[int, str]] = []
        self.texts: npt.NDArray[np.uint64] = np.zeros(num_rows, np.uint64)
        """Of rows with a label: a hash that is equal for equal words."""

    def add(self, start: int, batch: pa.RecordBatch) -> None:
        """Takes rows with `_COLUMNS`, the first of which has the ordinal `start`."""
        messages, plain = (batch[name].to_pylist() for name in ("messages", "text"))
        contents = [content_of(chat, text) for chat, text in zip(messages, plain, strict=True)]
        texts = [plain_text(content) for content in contents]
        self._measure(contents, texts)
        self.languages.update(language for language in batch["language"].to_pylist() if language is not None)
        for index in broken_rows(texts):
            self.num_broken += 1
            if len(self.broken) < _NUM_SHOWN:
                self.broken.append((start + index, texts[index][:200]))
        self.sample.add(start, batch["fingerprint"], texts)
        for index in np.flatnonzero(batch["notes"].is_valid().to_numpy(zero_copy_only=False)).tolist():
            normal = " ".join(texts[index].split()).encode()
            digest = hashlib.blake2b(normal, digest_size=8).digest()
            self.texts[start + index] = int.from_bytes(digest, "big")

    def _measure(self, contents: Sequence[Content], texts: Sequence[str]) -> None:
        turns = [
            1 if isinstance(content, str) else sum(message["role"] != "system" for message in content)
            for content in contents
        ]
        measured: dict[str, list[Any]] = {
            "characters": [len(text) for text in texts],
            "words": [len(text.split()) for text in texts],
            "turns": turns,
        }
        for name, values in measured.items():
            self.lengths[name].add(np.array(values, np.int64))
