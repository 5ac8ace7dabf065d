"""Where a base model's config.json is found without fetching anything: its folder, the workers' cache on this machine,
or this folder, which has those of the catalogue."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from luthier.artifacts import local_path
from luthier.planning.shape import UnknownModelError
from luthier.spec import DistillationSpec, JobSpec, XloraSpec

_ADAPTER = "adapter_config.json"
_ADAPTER_FOLDERS = ("", "adapter", "peft")
"""Where it is in a folder that a job file names: an adapter's own, or the output of a train or export stage."""


def find_config(base_model: str, cache: Path | None) -> Mapping[str, Any]:
    """The config.json of `base_model` of a job file.

    Args:
        base_model: a directory, a hub id, or a name of the catalogue.
        cache: folder of the workers' cached models; None: only what is packaged is looked at.

    Raises:
        UnknownModelError: it is not here, or is not JSON.
    """
    for path in _places(base_model, cache):
        if path.is_file():
            return read_config(path)
    raise UnknownModelError(
        f"the config.json of base_model {base_model!r} is not on this machine; give it with --config, or run a job "
        f"with the model here first"
    )


def find_teacher(spec: JobSpec, cache: Path | None) -> Mapping[str, Any] | None:
    """The config.json of the model whose probabilities a job distils; None: it has none, or it is not here.

    `cache` is that of `find_config`.
    """
    if not isinstance(spec.objective, DistillationSpec) or spec.objective.level == "sequence":
        return None
    try:
        return find_config(spec.objective.teacher, cache)
    except UnknownModelError:
        return None


def find_experts(spec: JobSpec) -> list[Mapping[str, Any]]:
    """adapter_config.json of each adapter that a job mixes; empty: it mixes none, or one is not in a folder here.

    Raises:
        UnknownModelError: one is no JSON object.
    """
    if not isinstance(spec.method, XloraSpec):
        return []
    found = []
    for path in spec.method.experts:
        folder = local_path(path)
        places = [] if folder is None else [folder / part / _ADAPTER for part in _ADAPTER_FOLDERS]
        here = next((place for place in places if place.is_file()), None)
        if here is None:
            return []
        found.append(read_config(here))
    return found


def read_config(path: Path) -> Mapping[str, Any]:
    """The config.json at `path`.

    Raises:
        UnknownModelError: it cannot be read, or is not a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnknownModelError(f"{path} is not the config.json of a model: {error}") from error
    if not isinstance(document, dict):
        raise UnknownModelError(f"{path} is not the config.json of a model: no JSON object")
    return document


def _places(base_model: str, cache: Path | None) -> Iterator[Path]:
    name = base_model.partition("@")[0]
    flat = name.replace("/", "--")
    if cache is not None and base_model.startswith("/"):
        yield Path(base_model) / "config.json"
    elif cache is not None:
        yield cache / "catalogue" / name / "config.json"
        for folder in (cache / "hub" / f"models--{flat}" / "snapshots", cache / "directory"):
            pattern = "*/config.json" if folder.name == "snapshots" else f"{flat}-*/config.json"
            yield from sorted(folder.glob(pattern), key=lambda path: -path.stat().st_mtime)
    yield Path(__file__).with_name(f"{flat.lstrip('-')}.json")
