"""An artifact that several processes write together: each adds files, then one of them commits them all.

Until then there is no manifest at the artifact's URI, so nobody takes it for one. On a file system, which the
processes must share, the files lie under a temporary name that is renamed last; on an object store they lie where they
belong, and the manifest comes last. Nobody reads what another has written: each says the hashes of its own files.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import fsspec

from luthier.artifacts import (
    MANIFEST,
    ArtifactRef,
    Manifest,
    delete,
    describe_file,
    join,
    local_path,
    make_durably,
    sync_path,
    write_manifest,
)
from workers.failures import ConfigError

Files = dict[str, dict[str, Any]]
"""What a manifest says of files, by name."""


_ENDING = ".tmp"


class Draft:
    """The artifact at `uri` before it is one. Nothing is done to the disk before files are added."""

    def __init__(self, uri: str, scratch: Path) -> None:
        """`scratch` is a local folder for files on their way to an object store."""
        self._uri = uri
        self._target = local_path(uri)
        self._folder = (
            scratch / f"draft-{uuid.uuid4().hex[:8]}"
            if self._target is None
            else self._target.with_name(f"{self._target.name}{_ENDING}")
        )

    def add(self, write: Callable[[Path], list[str]]) -> Files:
        """What `write` put into a folder, and names, is where it has to be, and on disk.

        Raises:
            OSError: the store cannot be written; with ENOSPC when it is full.
        """
        make_durably(self._folder)
        names = write(self._folder)
        files = {name: describe_file(self._folder / name) for name in names}
        for name in names:
            self._hand_over(name)
        return files

    def commit(self, files: Files, *, extra: Mapping[str, Any], key: bytes | None = None) -> ArtifactRef:
        """Makes `files`, which is all that was added by anybody, the artifact.

        Raises:
            ConfigError: what another process has added is not here.
            OSError: the store cannot be written.
        """
        manifest = Manifest(dict(sorted(files.items())), extra)
        if self._target is not None:
            self._check(files)
        write_manifest(manifest, self._folder, key=key)
        self._hand_over(MANIFEST)
        if self._target is None:
            shutil.rmtree(self._folder)
        else:
            sync_path(self._folder)
            os.rename(self._folder, self._target)
            sync_path(self._target.parent)
        return ArtifactRef(self._uri, manifest.digest, manifest.num_bytes)

    def drop(self) -> None:
        """Removes what was added, by everybody who shares the folder; it will not be committed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._target is None:
            delete(self._uri)

    def _hand_over(self, name: str) -> None:
        if self._target is not None:
            sync_path(self._folder / name)
            return
        filesystem, path = fsspec.core.url_to_fs(self._uri)
        filesystem.makedirs(path, exist_ok=True)
        filesystem.put_file(str(self._folder / name), join(path, name))
        (self._folder / name).unlink()

    def _check(self, files: Files) -> None:
        missing = [name for name in files if not (self._folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{missing[0]} of a checkpoint, which another rank wrote into {self._folder}, is not there for rank 0: "
                f"the ranks do not share this folder; set LUTHIER_ARTIFACTS to one that they do, or to an object store"
            )


def sweep(uris: Iterable[str]) -> None:
    """Removes the drafts that processes which are dead have left beside these artifacts, on a file system."""
    targets = filter(None, map(local_path, uris))
    for folder in {target.parent for target in targets}:
        for leftover in folder.glob(f"*{_ENDING}"):
            shutil.rmtree(leftover, ignore_errors=True)
