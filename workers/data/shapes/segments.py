"""Records without a template: pieces of a text, each with a label that says whether it is trained on.

As Axolotl's `input_output`: the pieces are put end to end, and nothing is added, no control token and no white space.
"""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import CONTEXT, TARGET, Content, Message, Notes, kind, read_list


def segments(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A list of {label, text}. Raises RowError."""
    given = read_list(record["segments"], "segments", "{label, text}")
    pieces = [_segment(number, segment) for number, segment in enumerate(given, start=1)]
    if not any(piece["role"] == TARGET and piece["content"] for piece in pieces):
        raise RowError(problems.NOTHING_TRAINABLE, "no segment has the label true and a text")
    return pieces, Notes()


def _segment(number: int, segment: object) -> Message:
    where = f"segment {number} "
    if not isinstance(segment, dict):
        raise RowError(problems.WRONG_TYPE, f"{where}is {kind(segment)}; expected {{label, text}}")
    unknown = sorted(repr(key) for key, value in segment.items() if key not in ("label", "text") and value is not None)
    if unknown:
        raise RowError(problems.WRONG_COLUMNS, f"{where}has {', '.join(unknown)}; expected label and text")
    label, text = segment.get("label"), segment.get("text")
    if not isinstance(label, bool):
        raise RowError(problems.WRONG_TYPE, f"{where}has {kind(label)} as label; expected true or false")
    if not isinstance(text, str):
        raise RowError(problems.WRONG_TYPE, f"{where}has {kind(text)} as text; expected text")
    return {"role": TARGET if label else CONTEXT, "content": text}
