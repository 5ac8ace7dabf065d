"""Verifies what the hub's library keeps: every file is a link to a blob that is named by the hash of its content.

The hub names large files by their sha256 and small ones as git does. A file system without links has plain copies,
whose hashes nobody wrote down: those are not verified.
"""

import hashlib
import re
from pathlib import Path

from huggingface_hub.utils.sha import git_hash

from workers.failures import DependencyError

_SHA256, _GIT = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")


def check_blobs(snapshot: Path) -> None:
    """Verifies the files of one snapshot folder. A damaged blob is removed, so that the next try fetches it again.

    Raises:
        DependencyError: naming the file that was damaged.
    """
    for path in sorted(snapshot.rglob("*")):
        blob = path.resolve()
        if path.is_symlink() and blob.is_file() and not _is_sound(blob):
            blob.unlink()
            path.unlink()
            raise DependencyError(f"{path} in the cache of the model hub was damaged and is removed; fetch it again")


def _is_sound(blob: Path) -> bool:
    if _SHA256.fullmatch(blob.name):
        with blob.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == blob.name
    return not _GIT.fullmatch(blob.name) or git_hash(blob.read_bytes()) == blob.name
