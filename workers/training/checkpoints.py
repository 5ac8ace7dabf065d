"""Checkpoints: committed whole or not at all, signed, and the newest good one is what a new attempt starts from.

A checkpoint is an artifact (luthier.artifacts: manifest with hashes and HMAC, fsync, rename) named `<step>.<fence>`
that holds a snapshot (snapshot.py). A save copies the state to host memory and returns; a thread writes it (writer.py).
Rank 0 commits and reports it: alone where it has all of the state, else once every rank has written its part
(commit.py). A snapshot depends on the number of ranks only in the states of the random generators and in how its
tensors are cut, so any number of ranks may go on from it. Nothing is deleted here: what is needed no more
(retention.py) is reported as well, and goes once the coordinator has forgotten it.
"""

import logging
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier.artifacts import ArtifactError, ArtifactRef, fetch, join, read_manifest
from luthier.v1.stage_pb2 import Checkpoint
from workers.task import Report, Task
from workers.training.commit import Agreement, Commit
from workers.training.distributed.world import World
from workers.training.draft import Draft, Files, sweep
from workers.training.host_copy import HostCopy
from workers.training.pieces import Piece, Stored
from workers.training.retention import Committed, Retention
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot, read_snapshot
from workers.training.writer import Writer

_log = logging.getLogger(__name__)


class CheckpointStore:
    """Checkpoints of one attempt, and those that it may resume from. As a context it ends with the last commit."""

    def __init__(
        self,
        uri: str,
        fence: int,
        scratch: Path,
        *,
        keep: int,
        key: bytes,
        report: Report,
        earlier: Sequence[Checkpoint] = (),
        world: World = World(),  # noqa: B008 - immutable
    ) -> None:
        """
        Args:
            uri: directory that this attempt alone writes checkpoints to.
            fence: of this attempt.
            scratch: local folder for files on their way.
            keep: how many of the newest to leave, at least two; the best ones stay in any case.
            key: of the HMAC; empty: unsigned.
            report: told of what is committed and of what is needed no more.
            earlier: committed checkpoints of earlier attempts, newest first.
            world: the ranks of this attempt, which all save, load and wait at the same steps.
        """
        self._uri = uri
        self._fence = fence
        self._scratch = scratch
        self._key = key or None
        self._report = report
        self._earlier = earlier
        self._keep = keep
        self._world = world
        self._retention = Retention(keep)
        self._host_copy = HostCopy()
        self._writer: Writer[Files] = Writer()
        self._agreement: Agreement | None = None

    @classmethod
    def of(cls, task: Task, report: Report, world: World = World()) -> "CheckpointStore":  # noqa: B008 - immutable
        """Those of an attempt at a stage, as its job wants them kept."""
        return cls(
            join(task.output_uri, "checkpoints"),
            task.assignment.stage.fence,
            task.work_dir / "checkpoints",
            keep=task.spec.training.save_total_limit,
            key=task.settings.checkpoint_key.get_secret_value().encode(),
            report=report,
            earlier=task.checkpoints,
            world=world,
        )

    def __enter__(self) -> "CheckpointStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._writer.close()
        if failure is not None:
            if error is None:
                raise failure
            _log.error("the last checkpoint was not committed: %s", failure)

    def uri_of(self, step: int) -> str:
        """Where the checkpoint of `step` is, or will be."""
        return join(self._uri, f"{step}.{self._fence}")

    def save(self, snapshot: Snapshot[Piece], position: Position) -> float:
        """Begins to commit `snapshot`, after the commit before; the seconds for which the caller was held up.

        What is written in place is committed when this returns.

        Raises:
            OSError, SafetensorError, StageError: the commit before failed, or this; older checkpoints are untouched.
        """
        if not (self._world.is_first or snapshot.is_divided):
            return 0.0
        started = time.perf_counter()
        self._agree(wait=True)
        self._writer.wait()
        commit = self._commit(self._host_copy.take(snapshot), position)
        if snapshot.is_divided:
            self._writer.submit(partial(commit.write, self._world.rank))
            self._agreement = Agreement(self._world, self._writer, commit)
        else:
            self._writer.submit(commit.write_and_finish)
        if snapshot.is_written_in_place:
            self._agree(wait=True)
            self._writer.wait()
        return time.perf_counter() - started

    def check(self) -> None:
        """Between two steps: commits what all ranks have written. Waits for no disk.

        Raises:
            OSError, SafetensorError, StageError: the last commit failed.
        """
        self._agree(wait=False)
        if self._agreement is None:
            self._writer.check()

    def wait(self) -> None:
        """Returns, on all ranks, once every snapshot that was saved is committed and reported.

        Raises:
            OSError, SafetensorError, StageError: the last commit failed.
        """
        self._agree(wait=True)
        self._writer.wait()
        self._world.any(False)  # the others wait here for the first one

    def load_newest(self) -> Snapshot[Stored] | None:
        """The newest checkpoint of earlier attempts whose signature and hashes hold, or None, which is reported unless
        there was none.

        Which ones there are is what rank 0 was told. The best weights that it refers to are dropped when they are gone:
        later validations then name new ones.
        """
        told = [{"uri": one.uri, "digest": one.digest, "step": one.step} for one in self._earlier]
        earlier = [Checkpoint(**one) for one in self._world.first(told)]
        if self._world.is_first:
            sweep(one.uri for one in earlier)
        for index, checkpoint in enumerate(earlier):
            try:
                snapshot = self.load(checkpoint.uri, checkpoint.digest)
            except ArtifactError as error:
                _log.warning("checkpoint of step %d is not usable, trying the one before: %s", checkpoint.step, error)
                continue
            self._check_best(snapshot, checkpoint.uri)
            self._retention = Retention(self._keep, self._readable(earlier[index:]))
            return snapshot
        if earlier:
            _log.error("none of %d checkpoints of earlier attempts is usable: the run begins again", len(earlier))
            self._report.progress(
                0, 0, "no checkpoint of an earlier attempt is usable, the worker's log says why: beginning again"
            )
        return None

    def load(self, uri: str, digest: str | None = None) -> Snapshot[Stored]:
        """The snapshot at `uri`, if every rank finds it whole.

        Raises:
            ArtifactError: it is missing, changed, unsigned, or was not written by this loop.
        """
        found: Snapshot[Stored] | None = None
        reason = ""
        try:
            manifest = read_manifest(uri, key=self._key)
            folder = fetch(uri, self._scratch / f"fetched-{uuid.uuid4().hex[:8]}", digest=digest, key=self._key)
            found = read_snapshot(folder, manifest.extra.get("environment"))
        except ArtifactError as error:
            reason = str(error)
        reasons = [one for one in self._world.gather(reason) if one]
        if found is None or reasons:
            raise ArtifactError(reasons[0])
        return found

    def _agree(self, *, wait: bool) -> None:
        """Commits the divided checkpoint that is on its way, if there is one and all ranks have written it."""
        agreement, self._agreement = self._agreement, None
        if agreement is not None and not agreement.is_reached(wait=wait):
            self._agreement = agreement

    def _commit(self, snapshot: Snapshot[Piece], position: Position) -> Commit:
        progress = snapshot.progress
        best_uri = progress.best.checkpoint_uri if progress.best else None
        extra: dict[str, Any] = {
            "step": progress.step,
            "sample_position": {"epoch": position.epoch, "row": position.row},
            "world_size": self._world.size,
            "environment": snapshot.environment.to_json(),
            "best_uri": best_uri,
        }
        draft = Draft(self.uri_of(progress.step), self._scratch)
        return Commit(snapshot, draft, extra, self._key, partial(self._tell, progress.step, best_uri))

    def _tell(self, step: int, best_uri: str | None, ref: ArtifactRef) -> None:
        self._report.checkpoint(ref, step)
        self._report.retire(self._retention.add(Committed(ref.uri, best_uri)))

    def _check_best(self, snapshot: Snapshot[Stored], uri: str) -> None:
        best = snapshot.progress.best
        if best is None or best.checkpoint_uri == uri:
            return
        try:
            self.load(best.checkpoint_uri)
        except ArtifactError as error:
            _log.warning("the best weights, of step %d, are lost: %s", best.step, error)
            snapshot.progress.best = None

    def _readable(self, checkpoints: Sequence[Checkpoint]) -> list[Committed]:
        """Those, newest first, that count as committed, oldest first. What cannot be read stands in for nothing."""
        readable = []
        for checkpoint in reversed(checkpoints):
            try:
                manifest = read_manifest(checkpoint.uri, key=self._key)
            except ArtifactError as error:
                _log.warning("checkpoint of step %d is not usable: %s", checkpoint.step, error)
                continue
            readable.append(Committed(checkpoint.uri, manifest.extra.get("best_uri")))
        return readable
