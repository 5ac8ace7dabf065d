"""Puts an exported model into Triton's model repository, and takes it out again: whole or not at all.

Triton reads a model only when it is told to, so what counts is that the folder of that name is never half there, not
even after a crash. Staging names start with a dot and end in `.tmp`; Triton ignores them.
"""

import shutil
import uuid
from pathlib import Path

from luthier.artifacts import sync_path
from workers.export.triton import link_or_copy

_DIGEST_FILE = "artifact.digest"


def install(model: Path, repository: Path, digest: str) -> Path:
    """Copies the folder `model` into `repository` under its own name; returns where it lies now.

    A model of the same `digest` that is there already is left alone; any other is replaced.

    Raises:
        OSError: the repository cannot be written; with ENOSPC when the disk is full.
    """
    target = repository / model.name
    if _digest_of(target) == digest:
        return target
    repository.mkdir(parents=True, exist_ok=True)
    _sweep(repository, model.name)
    staged = _staging_name(target)
    try:
        shutil.copytree(model, staged, copy_function=link_or_copy)
        (staged / _DIGEST_FILE).write_text(digest)
        for path in staged.rglob("*"):
            sync_path(path)
        sync_path(staged)
        if target.exists():
            target.rename(_staging_name(target))
        staged.rename(target)
        sync_path(repository)
    finally:
        _sweep(repository, model.name)
    return target


def remove(repository: Path, name: str) -> None:
    """Takes the model out, by one rename first, so that a crash leaves no half of it under its name."""
    target = repository / name
    if target.exists():
        target.rename(_staging_name(target))
        sync_path(repository)
    _sweep(repository, name)


def _digest_of(target: Path) -> str:
    marker = target / _DIGEST_FILE
    return marker.read_text() if marker.is_file() else ""


def _staging_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def _sweep(repository: Path, name: str) -> None:
    """Removes what this or a killed attempt left."""
    for leftover in repository.glob(f".{name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
