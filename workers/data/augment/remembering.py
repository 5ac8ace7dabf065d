"""A writer that never asks twice and never asks too much.

Every answer is kept on disk as soon as it is there, under a hash of all that it depends on: a stage that is interrupted
or tried again reads what it was told before. The job's limits count those answers too, so where they end the same job
ends at the same row.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from luthier.spec.data.augment import WriterSpec
from workers.data.augment.origin import Refusal
from workers.data.augment.writer import Reply, Request, Writer
from workers.data.augmentation import Usage
from workers.data.stop import check_stop
from workers.task import Report

REPLIES_FILE = "replies.sqlite"
OVER_BUDGET = "over the budget of data.augment.writer"

_KEEP_SECONDS = 60.0
_BATCH = 16
"""Requests between two looks at the budget. A model answers them together, so it is the same for all jobs."""


def count_replies(path: Path) -> int:
    """Answers in a file of `Replies`, which need not be there."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM replies").fetchone()[0])


class Replies:
    """A file of answers by the hash of their request; it may have been there before."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("CREATE TABLE IF NOT EXISTS replies (request TEXT PRIMARY KEY, reply TEXT NOT NULL)")

    def get(self, key: str) -> Reply | None:
        """The answer, if it is there."""
        row = self._database.execute("SELECT reply FROM replies WHERE request = ?", (key,)).fetchone()
        return None if row is None else Reply(**json.loads(row[0]))

    def put(self, key: str, reply: Reply) -> None:
        """Keeps an answer; it is on disk when this returns."""
        with self._database:
            row = (key, json.dumps(asdict(reply)))
            self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", row)

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()


class RememberingWriter:
    """A writer with a memory and a budget."""

    def __init__(
        self, writer: Writer, spec: WriterSpec, replies: Replies, keep: Callable[[], None], report: Report
    ) -> None:
        """`keep` is called now and then, to bring the file of `replies` to safety."""
        self._writer = writer
        self._spec = spec
        self._replies = replies
        self._keep = keep
        self._report = report
        self._kept_at = time.monotonic()
        self._started = time.monotonic()
        self.usage = Usage()

    def write(self, requests: Sequence[Request]) -> list[Reply | Refusal]:
        """The answer to each request, or a refusal once the job's limits are reached.

        Raises:
            ConfigError, DependencyError: as the writer.
            PreemptedError: the worker drains; what was answered is kept.
        """
        said: list[Reply | Refusal] = []
        for start in range(0, len(requests), _BATCH):
            check_stop(self._report)
            batch = requests[start : start + _BATCH]
            room = self._spec.max_requests - self.usage.num_requests
            if self.usage.num_tokens >= self._spec.max_total_tokens:
                room = 0
            said += self._answer(batch[:room])
            over = Refusal(OVER_BUDGET, "max_requests or max_total_tokens was reached")
            said += [over] * (len(batch) - min(room, len(batch)))
        return said

    def _answer(self, requests: Sequence[Request]) -> list[Reply]:
        if not requests:
            return []
        keys = [self._key(request) for request in requests]
        known = [self._replies.get(key) for key in keys]
        if None in known and not self._writer.answers_one_by_one:
            known = [None] * len(known)
        missing = [place for place, reply in enumerate(known) if reply is None]
        self.usage.num_remembered += len(known) - len(missing)
        answers = self._writer.write([requests[place] for place in missing])
        for num_done, (place, reply) in enumerate(zip(missing, answers, strict=True), start=1):
            self._replies.put(keys[place], reply)
            known[place] = reply
            self._progress(num_done)
            if time.monotonic() - self._kept_at >= _KEEP_SECONDS:
                self._keep()
                self._kept_at = time.monotonic()
        replies = [reply for reply in known if reply is not None]
        self.usage.num_requests += len(replies)
        self.usage.num_tokens += sum(reply.num_tokens for reply in replies)
        return replies

    def _progress(self, num_done: int) -> None:
        num_asked = self.usage.num_requests - self.usage.num_remembered + num_done
        num_left = self._spec.max_requests - self.usage.num_requests - num_done
        eta = (time.monotonic() - self._started) / max(1, num_asked) * num_left
        step = self.usage.num_requests + num_done
        self._report.progress(step, self._spec.max_requests, "a model writes rows, at most so many", eta)

    def _key(self, request: Request) -> str:
        asked = self._spec.model_dump(include={"model", "endpoint", "temperature", "max_new_tokens"})
        return sha256(json.dumps([asked, request.prompt, request.seed], sort_keys=True).encode()).hexdigest()
