"""Training rows made into others, in passes over the scratch folder.

Rows are read a few hundred at a time. Each time that a row is wanted, it is tried by one method; rows take turns with
the methods, so that each makes its share, and a row that is refused is tried by the next one in a later pass. The order
of the draw decides which rows are wanted first: the same job makes the same rows.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from luthier.spec import DataSpec
from luthier.spec.data.augment import AugmentMethod
from workers.data.augment.added import AddedRows
from workers.data.augment.origin import Method, Origin, Refusal
from workers.data.augment.seen import Seen
from workers.data.dataset import SPLITS
from workers.data.dedup import Decisions
from workers.data.lineage.fingerprint import fingerprint
from workers.data.outcome import Outcome
from workers.data.problems import Fault
from workers.data.row import Content
from workers.data.stop import check_stop
from workers.data.storage.scratch import content_of, notes_of, read_scratch
from workers.task import Report

_TRAIN = SPLITS.index("train")
_POOL_ROWS = 256


class Making:
    """The methods of a job, its training rows, and how often each was tried."""

    def __init__(
        self,
        rows: Path,
        decisions: Decisions,
        outcome: Outcome,
        spec: DataSpec,
        methods: Mapping[AugmentMethod, Method],
        added: AddedRows,
        report: Report,
    ) -> None:
        """
        Args:
            rows: scratch folder.
            decisions: on all of its rows.
            outcome: gets the counts.
            spec: says when rows are alike.
            methods: in the order in which rows take turns with them.
            added: where the rows go that came about.
            report: told of the progress.

        Raises:
            PreemptedError: the worker drains, here and in every method.
        """
        self._rows = rows
        self._decisions = decisions
        self._outcome = outcome
        self._methods = methods
        self._names = list(methods)
        self._added = added
        self._report = report
        self._seen = Seen(rows, decisions.split, spec, report)
        self._is_train = decisions.split == _TRAIN
        fingerprints = [batch["fingerprint"].to_numpy() for _, batch in read_scratch(rows, ["fingerprint"])]
        self._rank = np.argsort(np.argsort(np.concatenate(fingerprints), kind="stable"), kind="stable")
        self._num_tries = np.zeros(len(self._rank), np.int32)
        self._started = time.monotonic()

    def balance(self, copies: npt.NDArray[np.int32]) -> None:
        """Tries to make as many rows of each row as [rows] `copies` says."""
        self._pass(copies)

    def fill(self, num_missing: int, max_copies: int) -> None:
        """Makes rows until as many came about, or each row was tried `max_copies` times."""
        num_made = 0
        limit = self._num_tries + max_copies
        while num_made < num_missing:
            (eligible,) = np.nonzero(self._is_train & (self._num_tries < limit))
            if not len(eligible):
                break
            order = np.lexsort((self._rank[eligible], self._num_tries[eligible]))
            wanted = np.zeros(len(limit), np.int32)
            wanted[eligible[order][: num_missing - num_made]] = 1
            num_made += self._pass(wanted)

    def _pass(self, wanted: npt.NDArray[np.int32]) -> int:
        """Tries to make [rows] `wanted` rows of each row. Returns how many came about."""
        num_made = 0
        for start, batch in read_scratch(self._rows, batch_rows=_POOL_ROWS):
            own = wanted[start : start + batch.num_rows]
            for number in range(int(own.max(initial=0))):
                check_stop(self._report)
                pool = list(self._origins(start, batch))
                chosen = [one for one in pool if own[one.ordinal - start] > number]
                num_made += self._make(chosen, pool, start, batch)
                self._num_tries[start : start + batch.num_rows] += own > number
                self._tell()
        return num_made

    def _make(self, chosen: Sequence[Origin], pool: Sequence[Origin], start: int, batch: pa.RecordBatch) -> int:
        made: list[tuple[Origin, Content, str]] = []
        for number, name in enumerate(self._names):
            own = [one for one in chosen if (self._rank[one.ordinal] + one.copy) % len(self._names) == number]
            contents = self._methods[name](own, pool) if own else []
            for origin, content in zip(own, contents, strict=True):
                if isinstance(content, Refusal):
                    self._refuse(origin, name, content)
                else:
                    made.append((origin, content, name))
        refusals = self._seen.refusals([(content, origin.notes) for origin, content, _ in made])
        kept = []
        for row, refusal in zip(made, refusals, strict=True):
            if refusal is None:
                kept.append(row)
            else:
                self._refuse(row[0], row[2], refusal)
        if kept:
            rows = batch.take(pa.array([origin.ordinal - start for origin, _, _ in kept]))
            self._added.write(_with_contents(rows, kept), [name for _, _, name in kept])
        self._outcome.augmentation.num_added += len(kept)
        return len(kept)

    def _origins(self, start: int, batch: pa.RecordBatch) -> Iterator[Origin]:
        """The training rows of a batch."""
        part = self._outcome.parts[self._outcome.part_of_file[batch["file"][0].as_py()]]
        columns = (batch[name].to_pylist() for name in ("messages", "text", "notes", "fingerprint"))
        for ordinal, (messages, text, notes, digest) in enumerate(zip(*columns, strict=True), start):
            if self._is_train[ordinal]:
                copy = int(self._num_tries[ordinal])
                learns_all = part.targets == "everything" or (text is not None and part.targets != "nothing")
                yield Origin(ordinal, content_of(messages, text), notes_of(notes), digest, learns_all, copy)

    def _refuse(self, origin: Origin, method: str, refusal: Refusal) -> None:
        file = self._outcome.files[self._decisions.file[origin.ordinal]]
        row = int(self._decisions.row[origin.ordinal])
        fault = Fault(file.name, row, refusal.reason, f"{method}: {refusal.detail}")
        self._outcome.augmentation.refused.add([fault])

    def _tell(self) -> None:
        done, wanted = self._outcome.augmentation.num_added, self._outcome.augmentation.num_wanted
        eta = (time.monotonic() - self._started) / max(1, done) * max(0, wanted - done)
        self._report.progress(done, wanted, "making training rows", eta)


def _with_contents(rows: pa.RecordBatch, made: Sequence[tuple[Origin, Content, str]]) -> pa.RecordBatch:
    """Rows with what was made of them in the place of what they said."""
    contents = [content for _, content, _ in made]
    texts = [content if isinstance(content, str) else None for content in contents]
    chats = [None if isinstance(content, str) else json.dumps(content, ensure_ascii=False) for content in contents]
    digests = [fingerprint(content, b"", origin.notes) for origin, content, _ in made]
    columns = {
        "messages": pa.array(chats, pa.string()),
        "text": pa.array(texts, pa.string()),
        "fingerprint": pa.array([int.from_bytes(digest[:8], "big") for digest in digests], pa.uint64()),
        "fingerprint_low": pa.array([int.from_bytes(digest[8:], "big") for digest in digests], pa.uint64()),
    }
    for name, values in columns.items():
        rows = rows.set_column(rows.schema.names.index(name), name, values)
    return rows
