"""One checkpoint on its way from a snapshot to an artifact, and how several ranks agree that it is there.

Where rank 0 has all of the state it writes and commits in one go, in the background. Where the state is divided, every
rank writes its part in the background; between two steps the ranks tell each other how far they are, and once all have
written, rank 0 commits. So a checkpoint has the parts of all ranks or does not exist: one that dies while it writes, or
whose disk is full, never agrees.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError

from luthier.artifacts import ArtifactRef
from luthier.v1.failure_pb2 import FailureClass
from workers.failures import ConfigError, StageError
from workers.training.distributed.world import World
from workers.training.draft import Draft, Files
from workers.training.pieces import Piece
from workers.training.snapshot import Snapshot, write_snapshot
from workers.training.writer import Writer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Commit:
    """What to commit, and who is told."""

    snapshot: Snapshot[Piece]
    """What this rank has, copied: later steps do not change it."""
    draft: Draft
    """Where it goes."""
    extra: Mapping[str, Any]
    """For the manifest."""
    key: bytes | None
    """That it is signed with."""
    tell: Callable[[ArtifactRef], None]
    """Called, in the background, once it is committed."""

    def write(self, rank: int = 0) -> Files:
        """Adds the part of `rank` to the draft.

        Raises:
            OSError, SafetensorError: it cannot be written; what was, is removed if nobody else writes.
        """
        try:
            return self.draft.add(lambda folder: write_snapshot(self.snapshot, folder, rank))
        except (OSError, SafetensorError):
            if not self.snapshot.is_divided:
                self.draft.drop()
            raise

    def finish(self, files: Files) -> Files:
        """Commits `files`, those of all ranks, and tells of it.

        Raises:
            OSError, ConfigError: see `Draft.commit`; everything that was written is removed.
        """
        try:
            ref = self.draft.commit(files, extra=self.extra, key=self.key)
        except (OSError, ConfigError):
            self.draft.drop()
            raise
        self.tell(ref)
        return files

    def write_and_finish(self) -> Files:
        """Both, where nobody else has a part."""
        return self.finish(self.write())


class Agreement:
    """The ranks' word on a divided checkpoint. All of them ask, at the same places of the program."""

    def __init__(self, world: World, writer: Writer[Files], commit: Commit) -> None:
        """`writer` is writing this rank's part of `commit`."""
        self._world = world
        self._writer = writer
        self._commit = commit
        self._files: Files | None = None
        self._error: OSError | SafetensorError | None = None

    def is_reached(self, *, wait: bool) -> bool:
        """Whether every rank has written its part; then rank 0 has begun to commit. `wait`: it is, on return.

        Raises:
            OSError, SafetensorError: this rank could not write its part; nothing is committed.
            StageError: LOST_WORKER; another one could not, and says why itself.
        """
        if wait or not self._writer.is_busy:
            self._note()
        done = self._files is not None or self._error is not None
        said = self._world.gather({"done": done, "files": self._files, "error": self._error and str(self._error)})
        if not all(one["done"] for one in said):
            return False
        if errors := {rank: one["error"] for rank, one in enumerate(said) if one["error"]}:
            self._give_up(errors)
        if self._world.is_first:
            files = {name: entry for one in said for name, entry in one["files"].items()}
            self._writer.submit(lambda: self._commit.finish(files))
        return True

    def _note(self) -> None:
        """What came of this rank's part, once."""
        try:
            files = self._writer.wait()
        except (OSError, SafetensorError) as error:
            self._error = error
        else:
            self._files = files or self._files

    def _give_up(self, errors: Mapping[int, str]) -> None:
        if self._world.is_first:
            self._commit.draft.drop()
        if self._error is not None:
            raise self._error
        rank, reason = next(iter(errors.items()))
        raise StageError(
            FailureClass.FAILURE_CLASS_LOST_WORKER, f"rank {rank} could not write its part of a checkpoint: {reason}"
        )
