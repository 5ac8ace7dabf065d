"""The JSON of one record, read strictly."""

import json
from typing import Any


class DoubledKeyError(ValueError):
    """An object has a key twice. Which of the values is meant is anybody's guess, and parsers differ."""


def parse_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        DoubledKeyError: an object in it has a key more than once.
        ValueError: a number has more digits than Python reads.
        RecursionError: it is nested too deeply.
    """
    return _DECODER.decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in made if keys.count(key) > 1)
        raise DoubledKeyError(f"the key {doubled!r} is there {keys.count(doubled)} times; keep one of them")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_object)
