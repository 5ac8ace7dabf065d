"""Datasets of a project by their versions, in the artifact store: an unchanged one is used again.

`<artifacts>/<project>/datasets/<version>/<stage>-<attempt>-<fence>`. They lie beside the folders of jobs, so that those
may go and leave the data of other jobs alone. Every attempt writes under a name of its own: two that compute the same
version at once do not meet, and nothing is ever written over. Of several datasets of a version any is right; one that
is damaged is passed over.
"""

import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import fsspec

from luthier.artifacts import ArtifactError, ArtifactRef, fetch, join, publish, read_manifest
from luthier.dataset_versions import datasets_uri, version_uri
from workers.task import Task

_log = logging.getLogger(__name__)
_EXTRA = "dataset_version"


@dataclass(frozen=True)
class StoredDataset:
    """A dataset artifact that is there."""

    ref: ArtifactRef
    folder: Path
    """Where its verified files are on this machine."""


class DatasetStore:
    """The datasets of one project."""

    def __init__(self, uri: str, own: str, scratch: Path, key: bytes | None = None) -> None:
        """
        Args:
            uri: where they lie.
            own: name that no other attempt writes under.
            scratch: where those of a remote store are fetched to.
            key: that their manifests are signed with.
        """
        self._uri = uri
        self._own = own
        self._scratch = scratch
        self._key = key

    @classmethod
    def of(cls, task: Task) -> "DatasetStore | None":
        """That of the task's project; None where its worker has no store, or the task no project."""
        project, stage, settings = task.assignment.project_id, task.assignment.stage, task.settings
        if not project or not settings.artifacts:
            return None
        own = f"{stage.stage_id}-{stage.attempt}-{stage.fence}"
        key = settings.checkpoint_key.get_secret_value().encode() or None
        return cls(datasets_uri(settings.artifacts, project), own, task.work_dir / "datasets", key)

    def find(self, version: str) -> StoredDataset | None:
        """One of this version whose every file is as it was written."""
        for uri in self._list(version):
            try:
                manifest = read_manifest(uri, key=self._key)
                if manifest.extra.get(_EXTRA) != version:
                    raise ArtifactError(f"{uri} is of another version")
                folder = fetch(uri, self._scratch / PurePosixPath(uri).name, key=self._key)
            except ArtifactError as error:
                _log.warning("a dataset is computed anew, because the one that is there cannot be used: %s", error)
                continue
            return StoredDataset(ArtifactRef(uri, manifest.digest, manifest.num_bytes), folder)
        return None

    def keep(self, folder: Path, version: str) -> ArtifactRef:
        """Publishes the dataset in `folder`, or refers to the one that somebody else has published meanwhile.

        Raises:
            OSError: the store cannot be written.
        """
        stored = self.find(version)
        if stored is not None:
            return stored.ref
        return publish(folder, join(self._place(version), self._own), extra={_EXTRA: version}, key=self._key)

    def _place(self, version: str) -> str:
        return version_uri(self._uri, version)

    def _list(self, version: str) -> list[str]:
        """All that lie there, but for those that are still being written."""
        filesystem, path = fsspec.core.url_to_fs(self._place(version))
        try:
            names = sorted(PurePosixPath(name).name for name in filesystem.ls(path, detail=False))
        except FileNotFoundError:
            return []
        return [join(self._place(version), name) for name in names if not name.endswith(".tmp")]
