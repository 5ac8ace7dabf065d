"""Folders that are made of a base model: once, in the cache, so that every stage that asks for the model gets the same
one without knowing of it.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers.models.cache import cached


def derived(base: Path, cache: Path, kind: str, change: Any, build: Callable[[Path], None]) -> Path:
    """The folder that `build(empty staging folder)` makes of `base` by `change`, JSON values that say how.

    A base model whose files change is another one.
    """
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(base.iterdir())]
    identity = json.dumps([str(base), files, change])
    return cached(cache / kind / f"{base.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}", build)
