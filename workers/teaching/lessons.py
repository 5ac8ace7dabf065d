"""The dataset with the teacher's answers in place of its own, by the student's tokenizer and template.

Only the last answer of a conversation is the teacher's, and only that is learned; the turns before it are what it was
asked. `asked rows x answers` = rows kept + rows dropped, and every reason is counted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc
from transformers import PreTrainedTokenizerBase

from workers.data.dataset import Example, SplitName, open_split
from workers.data.problems import Fault, Ledger
from workers.data.tokens.encode import Encoder
from workers.data.tokens.fit import TOKENS, Limit, columns, fit
from workers.teaching.answering import Answer
from workers.teaching.questions import key_of
from workers.teaching.seen import Seen

_BATCH_ROWS = 512

SILENT = "the teacher said nothing"
CUT_OFF = "the teacher's answer was cut off"
"""Reasons of answers that are dropped."""


@dataclass(frozen=True)
class Lesson:
    """A row with an answer of the teacher."""

    row: Example
    answer: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation."""
        return [*self.row.prompt, {"role": "assistant", "content": self.answer}]

    @property
    def weights(self) -> list[float] | None:
        """What each answer counts: the last one as much as the one that it stands for."""
        if self.row.weights is None:
            return None
        num_before = sum(message["role"] == "assistant" for message in self.row.prompt)
        return [*[1.0] * num_before, float(self.row.weights.max())]


@dataclass
class Lessons:
    """What came of the answers in one split."""

    num_asked: int = 0
    """Answers that were asked for, for each row by itself."""
    num_kept: int = 0
    num_tokens: int = 0
    num_trainable_tokens: int = 0
    num_truncated: int = 0
    ledger: Ledger = field(default_factory=Ledger)

    def add(self, good: pa.Table, bad: pa.Table) -> None:
        """Counts rows that were written, and rows that were dropped with `reason` and `detail`."""
        self.num_kept += good.num_rows
        self.num_tokens += pc.sum(pc.list_value_length(good["input_ids"])).as_py() or 0
        self.num_trainable_tokens += pc.sum(good["num_trainable"]).as_py() or 0
        self.num_truncated += pc.sum(good["was_truncated"]).as_py() or 0
        self.ledger.add([Fault(**row) for row in bad.select(["source", "row", "reason", "detail"]).to_pylist()])


class Teaching:
    """The answers of the teacher, on their way into the splits of a dataset artifact."""

    def __init__(
        self,
        folder: Path,
        answers: Mapping[str, Sequence[Answer]],
        refused: Mapping[str, tuple[str, str]],
        tokenizer: PreTrainedTokenizerBase,
        limits: Mapping[str, Limit],
        seen: Seen,
    ) -> None:
        """
        Args:
            folder: of the artifact.
            answers: by the key of the prompt.
            refused: why other prompts were not asked, by key.
            tokenizer: the student's.
            limits: how long an example may be, by the source of the row.
            seen: the conversations of the later splits.
        """
        self._folder = folder
        self._answers = answers
        self._refused = refused
        self._encoder = Encoder(tokenizer, "last_answer")
        self._limits = limits
        self._seen = seen

    def write(self, split: SplitName, rows: Sequence[Example], num_samples: int) -> Lessons:
        """Writes a split: each of `rows` with each of `num_samples` answers, as far as they can be learned."""
        outcome = Lessons()
        with open_split(self._folder, split) as table:
            for lessons in _batches(self._usable(split, rows, num_samples, outcome)):
                written = self._encode(lessons)
                good = written.filter(pc.is_null(written["reason"]))
                table.write(good)
                outcome.add(good, written.filter(pc.is_valid(written["reason"])))
        return outcome

    def _usable(
        self, split: SplitName, rows: Sequence[Example], num_samples: int, outcome: Lessons
    ) -> Iterator[Lesson]:
        """Each row with each answer to it that can be learned; the others go into the ledger."""
        for row in rows:
            key = key_of(row)
            outcome.num_asked += num_samples
            if key in self._refused:
                outcome.ledger.add([Fault(row.source, row.row, *self._refused[key])] * num_samples)
                continue
            for sample, answer in enumerate(self._answers[key][:num_samples]):
                lesson = Lesson(row, answer.text)
                fault = _fault(row, answer) or self._seen.fault(split, row, sample, lesson.messages)
                if fault is None:
                    yield lesson
                else:
                    outcome.ledger.add([fault])

    def _encode(self, lessons: Sequence[Lesson]) -> pa.Table:
        """Columns of a split and of `TOKENS`, by the student's tokenizer."""
        encoded = self._encoder.encode(
            [lesson.messages for lesson in lessons],
            [lesson.weights for lesson in lessons],
            [lesson.row.tools for lesson in lessons],
        )
        fitted = [fit(row, self._limits[lesson.row.component]) for row, lesson in zip(encoded, lessons, strict=True)]
        return _table(lessons, pa.Table.from_arrays(columns(fitted), schema=TOKENS))


def _fault(row: Example, answer: Answer) -> Fault | None:
    """Why nobody can learn from the answer."""
    if not answer.is_whole:
        return Fault(row.source, row.row, CUT_OFF, "objective.max_new_tokens was reached")
    if not answer.text.strip():
        return Fault(row.source, row.row, SILENT, "nothing but white space and special tokens")
    return None


def _batches(lessons: Iterator[Lesson]) -> Iterator[list[Lesson]]:
    batch: list[Lesson] = []
    for lesson in lessons:
        batch.append(lesson)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _table(lessons: Sequence[Lesson], tokens: pa.Table) -> pa.Table:
    said = {
        "row": pa.array([lesson.row.row for lesson in lessons], pa.int64()),
        "source": pa.array([lesson.row.source for lesson in lessons], pa.string()),
        "component": pa.array([lesson.row.component for lesson in lessons], pa.string()),
        "augmented": pa.array([lesson.row.augmented or None for lesson in lessons], pa.string()),
        "messages": pa.array([json.dumps(lesson.messages, ensure_ascii=False) for lesson in lessons], pa.string()),
        "label": pa.nulls(len(lessons), pa.string()),
        "labels": pa.nulls(len(lessons), pa.string()),
        "difficulty": pa.array([lesson.row.difficulty for lesson in lessons], pa.float64()),
        "tools": pa.array([lesson.row.tools for lesson in lessons], pa.string()),
    }
    for name, column in said.items():
        tokens = tokens.append_column(name, column)
    return tokens
