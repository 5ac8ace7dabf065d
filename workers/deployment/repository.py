"""Puts an exported model into Triton's model repository, and takes it out again: whole or not at all.

Triton reads a model only when it is told to, so what counts is that the folder of that name is never half there, not
even after a crash. Staging names start with a dot and end in `.tmp`; Triton ignores them. Each copy has a manifest of
its own, by which whoever is to load it tells whether it is still what was exported.
"""

import logging
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.artifacts import ArtifactError, seal, sync_path
from luthier.model_repository import verify_model
from workers.export.triton import link_or_copy
from workers.failures import DependencyError

_log = logging.getLogger(__name__)


def install(model: Path, files: Mapping[str, Any], repository: Path) -> Path:
    """Copies the folder `model` into `repository` under its own name; returns where it lies now.

    A sound copy of the same files that is there already is left alone; anything else is replaced.

    Args:
        model: verified.
        files: what its manifest says, as in `Manifest.files`.
        repository: made when missing.

    Raises:
        DependencyError: the copy is not equal to the model; the next try copies again.
        OSError: the repository cannot be written; with ENOSPC when the disk is full.
    """
    target = repository / model.name
    if _is_sound(target, files):
        return target
    repository.mkdir(parents=True, exist_ok=True)
    _sweep(repository, model.name)
    staged = _staging_name(target)
    try:
        shutil.copytree(model, staged, copy_function=link_or_copy)
        if seal(staged).files != files:
            raise DependencyError(f"the copy of {model} in {repository} differs from it; it is copied again")
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


def _is_sound(target: Path, files: Mapping[str, Any]) -> bool:
    if not target.exists():
        return False
    try:
        return verify_model(target).files == files
    except ArtifactError as error:
        _log.warning("a deployed model is damaged and is replaced: %s", error)
        return False


def _staging_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")


def _sweep(repository: Path, name: str) -> None:
    """Removes what this or a killed attempt left."""
    for leftover in repository.glob(f".{name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
