"""Whether an answer says exactly what the reference says.

When both are JSON they are compared as values: the order of keys and white space between tokens do not count,
the order of lists and the type of every scalar do (`1` is neither `true` nor `1.0`). Otherwise the texts are compared
without the white space around them; case and punctuation count.
"""

import json

from workers.evaluation.metrics.json_valid import parse_json
from workers.evaluation.metrics.metric import mean_of


def exact_match(answer: str, reference: str) -> float:
    """1.0 when equal in the sense above, else 0.0."""
    return float(_canonical(answer) == _canonical(reference))


def _canonical(text: str) -> tuple[str, str]:
    try:
        return "json", json.dumps(parse_json(text), sort_keys=True)
    except (ValueError, RecursionError):
        return "text", text.strip()


EXACT_MATCH = mean_of("Exact match", exact_match)
