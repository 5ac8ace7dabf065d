"""What is written in place of personal data, and how it is told of without showing it."""

import hashlib
import re
from collections.abc import Callable, Sequence

from workers.data.steps.pii.spans import Span

Replace = Callable[[str, str], str]
"""`(kind, value)`: what stands in its place. Nothing in it needs an escape in JSON, and none of it is found again."""

_WRITTEN_IN_GROUPS = frozenset({"card", "iban", "national_id", "phone"})
_NUM_SHOWN = 2


def label(kind: str, value: str) -> str:
    """The kind alone."""
    return f"<{kind.upper()}>"


def pseudonyms(key: bytes) -> Replace:
    """Kind and 48 bits of the keyed hash of the value (BLAKE2b, RFC 7693): one name for one value, however written.

    Without the key, of 1 to 64 bytes, nobody can tell whether a value that they guess is the one.
    """

    def replace(kind: str, value: str) -> str:
        normal = re.sub(r"\W", "", value) if kind in _WRITTEN_IN_GROUPS else value
        normal = normal if kind == "secret" else normal.casefold()
        digest = hashlib.blake2b(f"{kind}:{normal}".encode(), digest_size=6, key=key)
        return f"<{kind.upper()}_{digest.hexdigest().upper()}>"

    return replace


def replaced(text: str, spans: Sequence[Span], replace: Replace) -> str:
    """`text` with something else at `spans`, which are in order and apart."""
    pieces, end = [], 0
    for span in spans:
        pieces += [text[end : span.start], replace(span.kind, text[span.start : span.end])]
        end = span.end
    return "".join([*pieces, text[end:]])


def masked(value: str) -> str:
    """Enough to find the value by, and too little to learn it."""
    return f"{value[:_NUM_SHOWN]}… ({len(value)} characters)"
