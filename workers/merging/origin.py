"""Whether an adapter is of the job's base model, as far as names can tell. Shapes are compared elsewhere."""

import re
from collections.abc import Sequence
from pathlib import Path

from workers.failures import ConfigError
from workers.merging.adapter import LoraAdapter
from workers.models.catalogue import CATALOGUE

_IN_HUB_CACHE = re.compile(r".*/models--[^/]+--([^/]+)/snapshots/[^/]+/?")


def check_base(adapters: Sequence[LoraAdapter], base_model: str, folder: Path) -> None:
    """Refuses adapters that name another base model than `base_model`, which was resolved to `folder`.

    Of every name only the last part counts: the same model has a path in a cache, an id on a hub and a short name. An
    adapter that names none passes.

    Raises:
        ConfigError: naming the adapter.
    """
    entry = CATALOGUE.get(base_model)
    ours = {_last_part(name) for name in (base_model, str(folder), *([entry.hub_id] if entry else []))}
    for adapter in adapters:
        if adapter.base_model and _last_part(adapter.base_model) not in ours:
            raise ConfigError(
                f"adapter {adapter.name} is of the base model {adapter.base_model!r}, not of {base_model!r}; change "
                "base_model, or, if it is the same model, base_model_name_or_path in its adapter_config.json"
            )


def _last_part(name: str) -> str:
    cached = _IN_HUB_CACHE.fullmatch(name)
    return (cached[1] if cached else name.rstrip("/").rpartition("/")[2].partition("@")[0]).lower()
