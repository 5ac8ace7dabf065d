"""Where a job file's adapters lie: folders that the worker may read, and artifacts of the project's earlier jobs."""

from collections.abc import Sequence
from pathlib import Path

from luthier.artifacts import MANIFEST, ArtifactError, fetch, join, local_path
from workers.failures import ConfigError, DataError
from workers.models.tuned import ADAPTER
from workers.task import Task, check_readable

_EXPORTED = "peft"
_CONFIG = "adapter_config.json"


def find_adapter(path: str, what: str, task: Task, into: Path) -> Path:
    """Local folder of an adapter that a job file names, with its `adapter_config.json`.

    What has a manifest is verified by it, file by file.

    Args:
        path: a folder or the URI of an artifact.
        what: the field of the job file, for people.
        task: whose settings and project say what may be read.
        into: folder that an artifact is fetched to where that is needed.

    Raises:
        ConfigError: it may not be read, or holds no adapter.
        DataError: an artifact is damaged.
    """
    check_readable(path, what, ",".join([task.settings.data_roots, *_own_artifacts(task)]))
    return _adapter_in(_fetched(path, what, into), path, what)


def _own_artifacts(task: Task) -> Sequence[str]:
    """Where the artifacts of the job's project lie, and no other's."""
    project = task.assignment.project_id
    return [join(task.settings.artifacts, project)] if project and task.settings.artifacts else []


def _fetched(path: str, what: str, into: Path) -> Path:
    folder = local_path(path)
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{what} {path!r} is not a directory on this worker; check the path")
    if folder is not None and not (folder / MANIFEST).is_file():
        return folder
    try:
        return fetch(path, into)
    except ArtifactError as error:
        raise DataError(f"{what} {path!r} is damaged and was not used: {error}; restore it from a copy") from error


def _adapter_in(folder: Path, path: str, what: str) -> Path:
    for place in (folder, folder / ADAPTER, folder / _EXPORTED):
        if (place / _CONFIG).is_file():
            return place
    raise ConfigError(
        f"{what} {path!r} holds no adapter ({_CONFIG}, or one in {ADAPTER}/ or {_EXPORTED}/); give the folder that "
        "PEFT's save_pretrained wrote, or the artifact of a job that trained an adapter"
    )
