"""Models of a hub: the real one through huggingface_hub, or a local directory laid out as `<org>/<name>/...`.

Only safetensors, JSON and tokenizer files are ever fetched: no pickle, no Python.
"""

import fnmatch
import hashlib
import re
import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from workers.failures import ConfigError, DependencyError, StageError
from workers.models.blobs import check_blobs
from workers.models.cache import cached

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[A-Za-z0-9][\w./-]*)?")
"""`org/name`, with `@revision` (branch, tag or commit) if one is meant."""

_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
_CONNECT_SECONDS = 3.0
_MANY_REQUESTS, _FIRST_SERVER_ERROR = 429, 500


def fetch_from_hub(hub_id: str, cache: Path, hub_url: str) -> Path:
    """Folder with the files of `org/name` or `org/name@revision`; from `cache` when the hub cannot be reached.

    Args:
        hub_id: matches `HUB_ID`.
        cache: folder of all cached models.
        hub_url: URL of the hub, a local directory laid out as one, or empty for the library's default.

    Raises:
        ConfigError: the hub has no such model or revision, refuses it, or cannot be reached from here.
        DependencyError: the hub is there but does not work at the moment, or a cached file was damaged.
    """
    name, _, revision = hub_id.partition("@")
    if hub_url and "://" not in hub_url:
        return _copy_from_directory(name, revision, cache, Path(hub_url))
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            cache_dir=cache / "hub",
            allow_patterns=list(_PATTERNS),
            etag_timeout=_CONNECT_SECONDS,
            endpoint=hub_url or None,
        )
    except LocalEntryNotFoundError as error:
        # Its cause says why the hub gave no answer that could be used.
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _of_answer(hub_id, error.__cause__) from error
        raise ConfigError(
            f"base_model {hub_id!r} is not in the cache and the model hub cannot be reached ({error.__cause__}); "
            f"use a directory, or set LUTHIER_HUB_URL of the worker to a hub that it can reach"
        ) from error
    except GatedRepoError as error:
        raise ConfigError(
            f"base_model {hub_id!r} is gated; accept its terms on the hub and give the worker a token (HF_TOKEN)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise ConfigError(f"the model hub has no {hub_id!r} that it would show us; check the id") from error
    except HfHubHTTPError as error:
        raise _of_answer(hub_id, error) from error
    check_blobs(Path(folder))
    return Path(folder)


def _of_answer(hub_id: str, error: HfHubHTTPError) -> StageError:
    status = error.response.status_code
    if status == _MANY_REQUESTS or status >= _FIRST_SERVER_ERROR:
        return DependencyError(f"the model hub answered {status} for {hub_id!r}; it will be asked again")
    return ConfigError(f"the model hub answered {status} for {hub_id!r}; check the id and LUTHIER_HUB_URL")


def _copy_from_directory(name: str, revision: str, cache: Path, hub: Path) -> Path:
    if revision:
        raise ConfigError(f"the hub is the directory {hub}, which keeps no revisions; write {name!r} without '@'")
    source = hub / name
    if not source.is_dir():
        raise ConfigError(f"the hub directory {hub} has no model {name!r}; put its files into {source}")
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file() and any(fnmatch.fnmatch(path.name, pattern) for pattern in _PATTERNS)
    ]
    state = [(str(path.relative_to(source)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    version = hashlib.sha256(repr(state).encode()).hexdigest()[:16]

    def copy(staging: Path) -> None:
        for path in files:
            target = staging / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    return cached(cache / "directory" / f"{name.replace('/', '--')}-{version}", copy)
