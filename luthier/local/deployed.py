"""What earlier runs left in Triton's model repository is verified before a server loads it."""

import uuid
from collections.abc import Callable
from pathlib import Path

from luthier.artifacts import ArtifactError
from luthier.model_repository import verify_model


def set_aside_damaged(repository: Path, say: Callable[[str], None]) -> None:
    """Takes models that are not what was deployed out of Triton's sight, and says which and why.

    They keep a hidden name, which the next deployment of the same model sweeps away.
    """
    for folder in sorted(repository.glob("*")):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            verify_model(folder)
        except ArtifactError as error:
            folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp"))
            say(f"a deployed model is damaged and is not loaded: {error}; submit its job again")
