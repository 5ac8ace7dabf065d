"""The JSON of one record, read strictly."""

import json
import sys
from typing import Any


class DoubledKeyError(ValueError):
    """An object has a key twice. Which of the values is meant is anybody's guess, and parsers differ."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        DoubledKeyError: an object in it has a key more than once.
        ValueError: a whole number has more digits than Python reads.
        RecursionError: it is nested too deeply.
    """
    try:
        return _DECODER.decode(text)
    except (json.JSONDecodeError, DoubledKeyError):
        raise
    except ValueError as error:
        limit = f"{sys.get_int_max_str_digits():,}"
        raise ValueError(f"a whole number has more than {limit} digits; write it as text") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in made if keys.count(key) > 1)
        raise DoubledKeyError(f"the key {doubled!r} is there {keys.count(doubled)} times; keep one of them")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
