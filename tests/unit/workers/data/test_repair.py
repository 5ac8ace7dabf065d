"""Faults in the turns of a conversation: mended and counted where `data.repair` says so, refused otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from luthier.spec import ClassificationSpec
from luthier.spec.data import RepairSpec
from workers.data.dataset import load_split
from workers.data.shapes import SHAPES
from workers.data.shapes.repair import Repairs, repair_turns
from workers.failures import DataError

SYSTEM, USER, ANSWER, TOOL = "system", "user", "assistant", "tool"
OFF = dict.fromkeys(RepairSpec.model_fields, False)
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}


def chat(*messages: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in messages]


def repaired(messages: list[dict[str, Any]], shape: str = "chat", **parts: bool) -> tuple[Any, list[str]]:
    repairs: Repairs = []
    column = SHAPES[shape].required[0]
    record = repair_turns({column: messages}, SHAPES[shape], RepairSpec(**(OFF | parts if parts else {})), repairs)
    return record[column], [repair.kind for repair in repairs]


@pytest.mark.parametrize(
    ("part", "before", "after", "kind"),
    [
        ("empty_system", [(SYSTEM, " \n"), (USER, "a")], [(USER, "a")], "empty system message"),
        ("merge_turns", [(USER, "a"), (USER, "b"), (ANSWER, "c")], [(USER, "a\n\nb"), (ANSWER, "c")], "merged turns"),
        ("merge_turns", [(ANSWER, "a"), (ANSWER, "b"), (ANSWER, "c")], [(ANSWER, "a\n\nb\n\nc")], "merged turns"),
        (
            "leading_assistant",
            [(ANSWER, "hi"), (USER, "a"), (ANSWER, "b")],
            [(USER, "a"), (ANSWER, "b")],
            "leading answer",
        ),
        (
            "leading_assistant",
            [(SYSTEM, "s"), (ANSWER, "hi"), (ANSWER, "ho"), (USER, "a")],
            [(SYSTEM, "s"), (USER, "a")],
            "leading answer",
        ),
        ("trailing_user", [(USER, "a"), (ANSWER, "b"), (USER, "c")], [(USER, "a"), (ANSWER, "b")], "trailing question"),
    ],
)
def test_each_part_mends_its_fault_and_only_when_it_is_on(
    part: str, before: list[tuple[str, str]], after: list[tuple[str, str]], kind: str
) -> None:
    assert repaired(chat(*before), **{part: True}) == (chat(*after), [kind])
    others = {name: name != part for name in OFF}
    assert kind not in repaired(chat(*before), **others)[1]


def test_what_is_fine_or_beyond_mending_stays_the_same_object() -> None:
    fine = chat((SYSTEM, "s"), (USER, "a"), (ANSWER, "b"))
    only_answers = chat((ANSWER, "a"))
    only_questions = chat((USER, "a"))
    calls = [*chat((USER, "a")), {"role": ANSWER, "content": "", "tool_calls": [{}]}, *chat((TOOL, "1"), (TOOL, "2"))]
    weighted = [*chat((USER, "a"), (ANSWER, "b")), {"role": ANSWER, "content": "c", "weight": 0.5}]
    for messages in (fine, only_answers, only_questions, calls, weighted, ["text"], [], "no list", None):
        mended, repairs = repaired(messages)  # type: ignore[arg-type]
        assert mended is messages
        assert repairs == []


def test_sharegpt_is_mended_by_its_own_names_and_keeps_weights() -> None:
    turns = [{"from": "gpt", "value": "hi"}, {"from": "human", "value": "a"}, {"from": "human", "value": "b"}]
    answer = {"from": "gpt", "value": "c", "weight": 0.5}
    mended, repairs = repaired([*turns, answer, turns[1]], "sharegpt")
    assert mended == [{"from": "human", "content": "a\n\nb"}, answer]
    assert repairs == ["merged turns", "leading answer", "trailing question"]


def test_rows_with_faults_train_after_repair_and_are_counted(
    write_rows: Callable[..., Path], run: Callable[..., Any]
) -> None:
    rows = [
        {"messages": chat((SYSTEM, ""), (ANSWER, "hello"), (USER, "a"), (USER, "b"), (ANSWER, "world"), (USER, "c"))},
        {"messages": chat((USER, "a"), (ANSWER, "world"))},
        {"messages": json.dumps(chat((USER, "d"), (ANSWER, "e"), (USER, "f")))},
    ]
    path = write_rows(rows)
    with pytest.raises(DataError, match=r"rows\.jsonl line 1: wrong roles: message 2 is assistant, expected user"):
        run(path, **WHOLE)
    folder, outcome = run(path, repair=RepairSpec(), system_prompt="be kind", **WHOLE)
    kinds = {"empty system message": 1, "merged turns": 1, "leading answer": 1, "trailing question": 2}
    assert outcome.repairs.counts == kinds
    assert outcome.repairs.first["trailing question"][0].detail == "'c' removed"
    first, _, third = load_split(folder, "train")
    assert first.messages == chat((SYSTEM, "be kind"), (USER, "a\n\nb"), (ANSWER, "world"))
    assert third.messages == chat((SYSTEM, "be kind"), (USER, "d"), (ANSWER, "e"))


def test_a_conversation_to_be_classified_keeps_its_last_question(
    write_rows: Callable[..., Path], run: Callable[..., Any]
) -> None:
    rows = [
        {"messages": chat((USER, "a"), (ANSWER, "b"), (USER, "c")), "label": "x"},
        {"messages": chat((USER, "d")), "label": "y"},
    ]
    objective = ClassificationSpec(type="classification", labels=["x", "y"])
    _, outcome = run(write_rows(rows), objective=objective, repair=RepairSpec(), **WHOLE)
    assert outcome.repairs.counts == {}
    assert outcome.splits["train"].num_rows == 2


def test_a_section_with_everything_off_is_refused() -> None:
    with pytest.raises(ValidationError, match="every part of repair is off"):
        RepairSpec(**OFF)
