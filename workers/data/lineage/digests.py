"""What a dataset depends on, as digests: together they are its version. Equal versions mean equal datasets.

A version is `sha256:<hex>` over the bytes of the files with rows, and of every other file that `data` names; the
section itself, with what it leaves out filled in; what the objective takes of a row; the tokenizer with its chat
template; the code in this package, and the versions of the libraries. `data.engine` is no part of it, because it
changes no byte.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

_PACKAGE = Path(__file__).parent.parent


def digest_of(document: Any) -> str:
    """`sha256:<hex>` of a JSON value, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def files_digest(places: Iterable[Path]) -> str:
    """`sha256:<hex>` of the names and bytes of files, and of all files in folders."""
    return digest_of([_described(place) for place in places])


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """`sha256:<hex>` of the files that it would be saved as, its chat template among them."""
    with tempfile.TemporaryDirectory(prefix="luthier-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        return digest_of(_described(Path(folder)))


@cache
def code_digest() -> str:
    """`sha256:<hex>` of this package's files and of the versions of all libraries; read once per process."""
    names = (re.match(r"[\w.-]+", requirement) for requirement in metadata.requires("luthier") or [])
    installed = {distribution.name: distribution.version for distribution in metadata.distributions()}
    libraries = {name[0]: installed.get(name[0]) for name in names if name is not None}
    return digest_of({"package": _described(_PACKAGE), "libraries": libraries})


def _described(place: Path) -> dict[str, str]:
    """The hex sha256 of each file by its path in the folder; a file itself has the path `.`."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {str(path.relative_to(place)): _sha256(path) for path in files if "__pycache__" not in path.parts}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
