"""Records with a solution step by step, each step labelled as right or wrong (Lightman et al., 2023, arXiv:2305.20050).

The steps, one per line, are one answer. Where answers are learned, only solutions whose every step is right are; where
answers are judged, a solution with a wrong step is a bad one. Nothing here learns from the label of a single step.
"""

from collections.abc import Mapping
from typing import Any

from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import DESIRABLE, UNDESIRABLE, Content, Notes, kind, read_list
from workers.data.shapes.conversations import read_part
from workers.data.shapes.turns import check_answered


def stepwise(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A solution to be learned.

    Raises:
        RowError: one of its steps is wrong, or the record is no such list of steps.
    """
    content, labels = _solution(record)
    if not all(labels):
        detail = f"step {labels.index(False) + 1} is labelled as wrong; only whole right solutions are learned"
        raise RowError(problems.NOTHING_TRAINABLE, detail)
    return content, Notes()


def labelled_stepwise(record: Mapping[str, Any]) -> tuple[Content, Notes]:
    """A solution, and whether all of its steps are right. Raises RowError."""
    content, labels = _solution(record)
    return content, Notes(label=DESIRABLE if all(labels) else UNDESIRABLE)


def _solution(record: Mapping[str, Any]) -> tuple[Content, list[bool]]:
    steps = read_list(record["completions"], "completions", "steps")
    labels = read_list(record["labels"], "labels", "true and false")
    if len(steps) != len(labels) or not steps:
        raise RowError(problems.WRONG_COLUMNS, f"{len(steps)} completions and {len(labels)} labels; expected one each")
    for number, (step, label) in enumerate(zip(steps, labels, strict=True), start=1):
        if not isinstance(step, str) or not step.strip():
            raise RowError(problems.WRONG_TYPE, f"step {number} is {kind(step)} without words; expected text")
        if not isinstance(label, bool):
            raise RowError(problems.WRONG_TYPE, f"label {number} is {kind(label)}; expected true or false")
    messages = [*read_part(record, "prompt", "user").messages, {"role": "assistant", "content": "\n".join(steps)}]
    check_answered(messages)
    return messages, labels
