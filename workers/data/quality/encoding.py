"""Signs of broken characters in the rows as they are after cleaning: a look in bulk, and a closer one where it hits."""

import re
from collections.abc import Sequence

import pyarrow as pa
from ftfy.badness import is_bad
from pyarrow import compute as pc

_SUSPECT = r"[\x00-\x08\x0e-\x1f\x7f-\x{9f}\x{fffd}]|[\x{c0}-\x{ff}\x{152}-\x{192}][\x{80}-\x{ff}\x{152}-\x{2122}]"
_BROKEN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")


def broken_rows(texts: Sequence[str]) -> list[int]:
    """Indices of the texts with control characters, replacement characters, or what ftfy takes for mojibake."""
    matches = pc.match_substring_regex(pa.array(texts, pa.large_string()), _SUSPECT)
    return [index for index in pc.indices_nonzero(matches).to_pylist() if _is_broken(texts[index])]


def _is_broken(text: str) -> bool:
    return bool(_BROKEN.search(text)) or bool(is_bad(text))
