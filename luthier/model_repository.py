"""Copies of exported models in Triton's model repository, as the deploy stage leaves them and a server loads them.

Each is sealed with a manifest of its own. Triton's Python backend leaves bytecode beside the code that it loads and
cannot be told not to; that is derived, so it is removed and never trusted.
"""

import shutil
from pathlib import Path

from luthier.artifacts import Manifest, fetch, read_manifest


def verify_model(folder: Path) -> Manifest:
    """What the manifest of the copy in `folder` says, after every file of it was verified.

    Raises:
        ArtifactError: the copy is damaged or was never sealed; the message names the file.
    """
    for bytecode in list(folder.rglob("__pycache__")):
        shutil.rmtree(bytecode)
    fetch(str(folder), folder)
    return read_manifest(str(folder))
