"""Checkpoints: committed whole or not at all, signed, and the newest good one is what a new attempt starts from.

A checkpoint is an artifact (luthier.artifacts: manifest with hashes and HMAC, fsync, rename) named `<step>.<fence>`
that holds a snapshot (snapshot.py). A save copies the state to host memory and returns; one thread commits and then
reports it (writer.py). Of several ranks the first one does so. A snapshot depends on their number only in the states of
the random generators, so any number of ranks may go on from it. Nothing is deleted here: what is needed no more
(retention.py) is reported as well, and goes once the coordinator has forgotten it.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier.artifacts import ArtifactError, fetch, join, publish, read_manifest
from luthier.v1.stage_pb2 import Checkpoint
from workers.task import Report
from workers.training.distributed.world import World
from workers.training.host_copy import HostCopy
from workers.training.retention import Committed, Retention
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot, read_snapshot, write_snapshot
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
        self._writer = Writer()

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

    def save(self, snapshot: Snapshot, position: Position) -> float:
        """Begins to commit `snapshot`, after the commit before; the seconds for which the caller was held up.

        Raises:
            OSError, SafetensorError: the commit before failed; older checkpoints are untouched.
        """
        if not self._world.is_first:
            return 0.0
        started = time.perf_counter()
        self._writer.wait()
        self._writer.submit(partial(self._commit, self._host_copy.take(snapshot), position))
        return time.perf_counter() - started

    def check(self) -> None:
        """Returns at once.

        Raises:
            OSError, SafetensorError: the last commit failed.
        """
        self._writer.check()

    def wait(self) -> None:
        """Returns, on all ranks, once every snapshot that was saved is committed and reported.

        Raises:
            OSError, SafetensorError: the last commit failed.
        """
        self._writer.wait()
        self._world.any(False)  # the others wait here for the first one

    def load_newest(self) -> Snapshot | None:
        """The newest checkpoint of earlier attempts whose signature and hashes hold, or None.

        The best weights that it refers to are dropped when they are gone: later validations then name new ones.
        """
        for index, checkpoint in enumerate(self._earlier):
            try:
                snapshot = self.load(checkpoint.uri, checkpoint.digest)
            except ArtifactError as error:
                _log.warning("checkpoint of step %d is not usable, trying the one before: %s", checkpoint.step, error)
                continue
            self._check_best(snapshot, checkpoint.uri)
            self._retention = Retention(self._keep, self._readable(self._earlier[index:]))
            return snapshot
        return None

    def load(self, uri: str, digest: str | None = None) -> Snapshot:
        """The snapshot at `uri`.

        Raises:
            ArtifactError: it is missing, changed, unsigned, or was not written by this loop.
        """
        manifest = read_manifest(uri, key=self._key)
        folder = fetch(uri, self._scratch / f"fetched-{uuid.uuid4().hex[:8]}", digest=digest, key=self._key)
        return read_snapshot(folder, manifest.extra.get("environment"))

    def _commit(self, snapshot: Snapshot, position: Position) -> None:
        progress = snapshot.progress
        best_uri = progress.best.checkpoint_uri if progress.best else None
        extra: dict[str, Any] = {
            "step": progress.step,
            "sample_position": {"epoch": position.epoch, "row": position.row},
            "world_size": self._world.size,
            "environment": snapshot.environment.to_json(),
            "best_uri": best_uri,
        }
        folder = self._scratch / f"checkpoint-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        try:
            write_snapshot(snapshot, folder)
            ref = publish(folder, self.uri_of(progress.step), extra=extra, key=self._key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._report.checkpoint(ref, progress.step)
        self._report.retire(self._retention.add(Committed(ref.uri, best_uri)))

    def _check_best(self, snapshot: Snapshot, uri: str) -> None:
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
