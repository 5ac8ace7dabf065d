"""Whether an answer is one JSON text (RFC 8259) and nothing else. `NaN` and `Infinity` are not JSON."""

import json
from typing import Any

from workers.evaluation.metrics.metric import mean_of


def parse_json(text: str) -> Any:
    """The value that `text` stands for.

    Raises:
        ValueError: it is not JSON, or something stands around it.
    """
    return json.loads(text, parse_constant=_refuse)


def json_valid(answer: str, reference: str) -> float:
    """1.0 when the whole answer parses, else 0.0. The reference plays no part."""
    try:
        parse_json(answer)
    except (ValueError, RecursionError):
        return 0.0
    return 1.0


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


JSON_VALID = mean_of("Valid JSON", json_valid)
