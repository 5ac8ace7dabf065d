"""An encoder for those who run a plan: the one that there is, or in another process one made once from a folder.

What a plan holds is sent with each of its tasks. A tokenizer is megabytes and takes a second to set up, so on a cluster
only the path of its folder travels.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

from workers.data.engine import is_distributed
from workers.data.tokens.encode import Encoder
from workers.data.tokens.targets import Targets


@contextmanager
def encoder_at_hand(encoder: Encoder, scratch: Path) -> Iterator[Callable[[], Encoder]]:
    """What gives the encoder to whoever runs a plan, while this is open. `scratch` is a folder that all of them see."""
    if not is_distributed():
        # Daft keeps the functions of its plans for good; a tokenizer of some 70 MB is let go of.
        held = [encoder]
        try:
            yield partial(held.__getitem__, 0)
        finally:
            held.clear()
        return
    tokenizer, targets = encoder.made_of
    with tempfile.TemporaryDirectory(dir=scratch, prefix="tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        yield partial(_load, folder, targets)


@lru_cache(maxsize=2)
def _load(folder: str, targets: Targets) -> Encoder:
    from workers.models import load_tokenizer  # here: torch takes seconds, and nobody on this machine needs it

    return Encoder(load_tokenizer(Path(folder)), targets)
