"""Checkpoints: committed whole or not at all, signed, and the newest good one is what a new attempt starts from.

A checkpoint is an artifact (luthier.artifacts: manifest with hashes and HMAC, fsync, rename) named `<step>.<fence>`.
Tensors are safetensors, everything else JSON: nothing here can execute code when it is read. What a save removes, it
removes after its own checkpoint is committed, so a full disk never costs an older one.
"""

import json
import logging
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from luthier.artifacts import ArtifactError, ArtifactRef, delete, fetch, join, publish, read_manifest
from luthier.v1.stage_pb2 import Checkpoint
from workers.training.sampler import Position
from workers.training.state import Progress

_ADAPTER, _OPTIMIZER, _RNG, _PROGRESS = (
    "adapter.safetensors",
    "optimizer.safetensors",
    "rng.safetensors",
    "progress.json",
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The full state of a run between two steps."""

    progress: Progress
    adapter: dict[str, torch.Tensor]
    """Trainable parameters by name, fp32."""
    optimizer: dict[str, torch.Tensor]
    """`<parameter name>/<state name>` of AdamW."""
    rng: dict[str, torch.Tensor]
    """uint8 states of the random generators by device type."""


class CheckpointStore:
    """Checkpoints of one attempt, and those that it may resume from."""

    def __init__(
        self, uri: str, fence: int, scratch: Path, *, keep: int, key: bytes, earlier: Sequence[Checkpoint] = ()
    ) -> None:
        """
        Args:
            uri: directory that this attempt alone writes checkpoints to.
            fence: of this attempt.
            scratch: local folder for files on their way.
            keep: committed checkpoints to leave; the best one is kept in any case.
            key: of the HMAC; empty: unsigned.
            earlier: committed checkpoints of earlier attempts, newest first.
        """
        self._uri = uri
        self._fence = fence
        self._scratch = scratch
        self._keep = keep
        self._key = key or None
        self._earlier = earlier
        self._committed: list[str] = []

    def uri_of(self, step: int) -> str:
        """Where the checkpoint of `step` is, or will be."""
        return join(self._uri, f"{step}.{self._fence}")

    def save(self, snapshot: Snapshot, position: Position) -> ArtifactRef:
        """Commits `snapshot`, then removes this attempt's oldest ones beyond the limit, but never the best.

        Raises:
            OSError, SafetensorError: the store cannot be written or is full; older checkpoints are untouched.
        """
        progress = snapshot.progress
        folder = self._scratch / f"checkpoint-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        extra = {
            "step": progress.step,
            "sample_position": {"epoch": position.epoch, "row": position.row},
            "world_size": 1,
            "versions": {"torch": torch.__version__},
            "best_step": progress.best.step if progress.best else None,
        }
        try:
            for name, tensors in ((_ADAPTER, snapshot.adapter), (_OPTIMIZER, snapshot.optimizer), (_RNG, snapshot.rng)):
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, folder / name)
            (folder / _PROGRESS).write_text(json.dumps(progress.to_json()))
            ref = publish(folder, self.uri_of(progress.step), extra=extra, key=self._key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._committed.append(ref.uri)
        best_uri = progress.best.checkpoint_uri if progress.best else None
        for uri in self._committed[: -self._keep]:
            if uri != best_uri:
                delete(uri)
                self._committed.remove(uri)
        return ref

    def load_newest(self) -> Snapshot | None:
        """The newest checkpoint of earlier attempts whose signature and hashes hold, or None.

        The best adapter that it refers to is dropped when it is gone: later validations then name a new one.
        """
        for checkpoint in self._earlier:
            try:
                snapshot = self.load(checkpoint.uri, checkpoint.digest)
            except ArtifactError as error:
                _log.warning("checkpoint of step %d is not usable, trying the one before: %s", checkpoint.step, error)
                continue
            best = snapshot.progress.best
            if best is not None and best.checkpoint_uri != checkpoint.uri:
                try:
                    self.load(best.checkpoint_uri)
                except ArtifactError as error:
                    _log.warning("the best adapter, of step %d, is lost: %s", best.step, error)
                    snapshot.progress.best = None
            return snapshot
        return None

    def load(self, uri: str, digest: str | None = None) -> Snapshot:
        """The snapshot at `uri`.

        Raises:
            ArtifactError: it is missing, changed, unsigned, or was not written by this loop.
        """
        manifest = read_manifest(uri, key=self._key)
        if manifest.extra.get("world_size") != 1:
            raise ArtifactError(f"{uri} was written by {manifest.extra.get('world_size')} ranks, this run has one")
        folder = fetch(uri, self._scratch / f"fetched-{uuid.uuid4().hex[:8]}", digest=digest, key=self._key)
        return Snapshot(
            progress=Progress.of_json(json.loads((folder / _PROGRESS).read_text())),
            adapter=load_file(folder / _ADAPTER),
            optimizer=load_file(folder / _OPTIMIZER),
            rng=load_file(folder / _RNG),
        )
