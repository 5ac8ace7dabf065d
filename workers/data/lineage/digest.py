"""One pass over the bytes of a file: what they are, and where a file of lines may be cut."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from workers.data.files import Shard

SHARD_BYTES = 1 << 23
"""About so much is read by one task: enough that starting it costs nothing, and what comes of it is in memory several
times."""
_BLOCK_BYTES = 1 << 20


class Digest(NamedTuple):
    """What one pass finds."""

    sha256: str
    """Hex digest."""
    shards: tuple[Shard, ...]
    """Runs of whole lines, as they are if this is text; none if there would be but one, or if lines end with CR."""


def digest(path: Path, shard_bytes: int = SHARD_BYTES) -> Digest:
    """The SHA-256 of a file and its shards of about `shard_bytes`.

    Raises:
        PermissionError: it may not be read.
    """
    whole = hashlib.sha256()
    cuts = [(0, 1)]
    position, num_ends, num_returns, num_pairs = 0, 0, 0, 0
    last = b""
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK_BYTES):
            whole.update(block)
            if position + len(block) - cuts[-1][0] >= shard_bytes and (end := block.find(b"\n")) >= 0:
                cuts.append((position + end + 1, num_ends + 2))
            num_ends += block.count(b"\n")
            num_returns += block.count(b"\r")
            num_pairs += block.count(b"\r\n") + (last == b"\r" and block.startswith(b"\n"))
            position += len(block)
            last = block[-1:]
    if len(cuts) == 1 or num_returns != num_pairs:
        return Digest(whole.hexdigest(), ())
    stops = [start for start, _ in cuts[1:]] + [position]
    shards = [Shard(start, stop, row) for (start, row), stop in zip(cuts, stops, strict=True) if start < stop]
    return Digest(whole.hexdigest(), tuple(shards))
