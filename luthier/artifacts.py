"""Artifacts: directories with a `manifest.json` that lists every file with its size and sha256.

An artifact is complete or invisible. It is written under a temporary name, verified, and renamed (on an object
store, where nothing can be renamed, the manifest is uploaded last). The manifest's digest is the artifact's
identity. Given a key, the manifest is signed as well: training state that we did not write is never resumed.
"""

import hashlib
import hmac
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


class ArtifactError(ValueError):
    """An artifact is missing, incomplete, changed, or not signed by us."""


@dataclass(frozen=True)
class ArtifactRef:
    """Where an artifact is and what it is."""

    uri: str
    """Path or fsspec URI of the directory."""
    digest: str
    """`sha256:<hex>` of the canonical manifest."""
    num_bytes: int
    """Of all files, without the manifest."""


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says."""

    files: Mapping[str, Mapping[str, Any]]
    """`{relative posix path: {"bytes": int, "sha256": hex}}`"""
    extra: Mapping[str, Any]
    """What the writer had to add: a step, versions, a sampler's position."""

    def canonical(self) -> bytes:
        """The bytes that are hashed and signed."""
        document = {"extra": self.extra, "files": self.files}
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """`sha256:<hex>`, the artifact's identity."""
        return f"sha256:{hashlib.sha256(self.canonical()).hexdigest()}"

    @property
    def num_bytes(self) -> int:
        """Of all files."""
        return sum(int(entry["bytes"]) for entry in self.files.values())

    def below(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """The files in one folder of the artifact, by their paths in it."""
        return {
            name.removeprefix(f"{folder}/"): entry
            for name, entry in self.files.items()
            if name.startswith(f"{folder}/")
        }


def publish(folder: Path, uri: str, *, extra: Mapping[str, Any] | None = None, key: bytes | None = None) -> ArtifactRef:
    """Makes the files in `folder` an artifact at `uri`. On the same disk the folder is moved, not copied.

    Publishing what is already there with the same digest is a no-op, so a retry is safe.

    Raises:
        ArtifactError: something else is at `uri` already.
        OSError: the store cannot be written; with ENOSPC when it is full.
    """
    manifest = seal(folder, extra=extra, key=key)
    ref = ArtifactRef(uri, manifest.digest, manifest.num_bytes)
    if _exists(uri):
        if read_manifest(uri, key=key).digest == manifest.digest:
            return ref
        raise ArtifactError(f"{uri} exists already and is another artifact")
    target = local_path(uri)
    if target is not None:
        _move_durably(folder, target)
    else:
        _upload(folder, uri, manifest)
    return ref


def seal(folder: Path, *, extra: Mapping[str, Any] | None = None, key: bytes | None = None) -> Manifest:
    """Writes the manifest of the files in `folder` into it: what `publish` does first.

    Raises:
        ArtifactError: the folder holds something that is neither a plain file nor a directory.
    """
    manifest = _describe(folder, extra or {})
    write_manifest(manifest, folder, key=key)
    return manifest


def write_manifest(manifest: Manifest, folder: Path, *, key: bytes | None = None) -> None:
    """Writes `manifest` into `folder`, signed if there is a key."""
    signature = {"hmac_sha256": _sign(manifest, key)} if key else {}
    document = {"files": manifest.files, "extra": manifest.extra, "digest": manifest.digest, **signature}
    (folder / MANIFEST).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def describe_file(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def fetch(uri: str, into: Path, *, digest: str | None = None, key: bytes | None = None) -> Path:
    """A local directory with the artifact's verified files: the artifact itself when it is local, else a copy.

    Raises:
        ArtifactError: it is missing or incomplete, a file's hash is wrong, a file is there that the manifest does not
            list, or digest or signature do not fit. The message names the file.
    """
    manifest = read_manifest(uri, key=key)
    if digest and manifest.digest != digest:
        raise ArtifactError(f"{uri} has digest {manifest.digest}, not {digest}: it was changed after it was recorded")
    folder = local_path(uri)
    if folder is None:
        folder = into
        _download(uri, manifest, folder)
    _verify(folder, manifest, uri)
    return folder


def read_manifest(uri: str, *, key: bytes | None = None) -> Manifest:
    """The manifest of the artifact at `uri`, with digest and signature checked but not the files.

    Raises:
        ArtifactError: there is none, it is broken, or it is not signed with `key`.
    """
    try:
        with fsspec.open(join(uri, MANIFEST), "rb") as stream:
            document = json.load(stream)
        manifest = Manifest(files=document["files"], extra=document["extra"])
        recorded = document["digest"]
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ArtifactError(f"no artifact at {uri}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{uri}/{MANIFEST} is broken") from error
    if recorded != manifest.digest:
        raise ArtifactError(f"{uri}/{MANIFEST} does not have the digest that it names")
    for name in manifest.files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ArtifactError(f"{uri}/{MANIFEST} names a file outside the artifact: {name!r}")
    if key and not hmac.compare_digest(str(document.get("hmac_sha256", "")).encode(), _sign(manifest, key).encode()):
        raise ArtifactError(f"{uri} was not signed by this installation")
    return manifest


def delete(uri: str) -> None:
    """Removes the artifact, its manifest first, so that a crash leaves it invisible rather than half there."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    if filesystem.exists(path):
        if filesystem.exists(join(path, MANIFEST)):
            filesystem.rm(join(path, MANIFEST))
        filesystem.rm(path, recursive=True)


def join(uri: str, *names: str) -> str:
    """`uri` with path components appended."""
    return "/".join([uri.rstrip("/"), *names])


def local_path(uri: str) -> Path | None:
    """The local path that `uri` names, or None when it lies on another file system."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    return None if "://" in uri else Path(uri)


def sync_path(path: Path) -> None:
    """Forces a file's bytes, or a directory's names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durably(folder: Path) -> None:
    """Makes `folder` and what is missing above it. Each new name is forced to disk in the folder that holds it."""
    if not folder.is_dir():
        make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_path(folder.parent)


def _describe(folder: Path, extra: Mapping[str, Any]) -> Manifest:
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ArtifactError(f"{path} is neither a plain file nor a directory")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            files[name] = describe_file(path)
    return Manifest(files=files, extra=dict(extra))


def _verify(folder: Path, manifest: Manifest, uri: str) -> None:
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
            raise ArtifactError(f"{uri}/{name} is missing or differs from its manifest")
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name != MANIFEST and name not in manifest.files:
            raise ArtifactError(f"{uri}/{name} is not in its manifest")


def _exists(uri: str) -> bool:
    filesystem, path = fsspec.core.url_to_fs(uri)
    return bool(filesystem.exists(join(path, MANIFEST)))


def _move_durably(folder: Path, target: Path) -> None:
    make_durably(target.parent)
    staged = target.parent / f"{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        if folder.stat().st_dev == target.parent.stat().st_dev:
            folder.rename(staged)
        else:
            shutil.copytree(folder, staged)
        for path in staged.rglob("*"):
            sync_path(path)
        sync_path(staged)
        staged.rename(target)
        sync_path(target.parent)
    except OSError:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _upload(folder: Path, uri: str, manifest: Manifest) -> None:
    filesystem, path = fsspec.core.url_to_fs(uri)
    for name in [*manifest.files, MANIFEST]:
        filesystem.makedirs(os.path.dirname(join(path, name)), exist_ok=True)
        filesystem.put_file(str(folder / name), join(path, name))


def _download(uri: str, manifest: Manifest, folder: Path) -> None:
    filesystem, path = fsspec.core.url_to_fs(uri)
    for name in manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            filesystem.get_file(join(path, name), str(folder / name))
        except FileNotFoundError as error:
            raise ArtifactError(f"{uri}/{name} is missing") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sign(manifest: Manifest, key: bytes) -> str:
    return hmac.new(key, manifest.canonical(), hashlib.sha256).hexdigest()
