"""Opaque ids: how they are made and what may stand where an id is expected.

Ids end up in NATS subjects, file names and URLs, so everything outside `[A-Za-z0-9_-]{1,64}` is refused here,
once, and nowhere else.
"""

import re
import secrets
import time

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32, lower case


def is_id(text: str) -> bool:
    """Whether `text` is a well-formed id."""
    return _ID.fullmatch(text) is not None


def check_id(text: str, what: str = "id") -> str:
    """Returns `text`.

    Raises:
        ValueError: it is not a well-formed id; the message names `what`.
    """
    if not is_id(text):
        raise ValueError(f"{what} {text[:80]!r} is not an id: 1 to 64 letters, digits, '-' or '_'")
    return text


def new_id(prefix: str) -> str:
    """A new id such as `job_06bq3k...`: 48 bits of milliseconds, then 80 random bits, so ids sort by age."""
    number = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | secrets.randbits(80)
    digits = []
    for _ in range(26):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return check_id(f"{prefix}_{''.join(reversed(digits))}")
