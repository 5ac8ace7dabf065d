from typing import Any

import pytest

from luthier.spec import DpoSpec, KtoSpec, SftSpec
from workers.data.problems import RowError
from workers.data.shapes import SHAPES, detect, read_row

USER = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "world"}
SYSTEM = {"role": "system", "content": "be brief"}


@pytest.mark.parametrize(
    ("columns", "shape"),
    [
        (["id", "messages"], "chat"),
        (["prompt", "completion"], "prompt_completion"),
        (["instruction", "input", "output"], "alpaca"),
        (["instruction", "output"], "alpaca"),
        (["text"], "text"),
        (["chosen", "rejected"], "preference"),
        (["chosen", "prompt", "rejected", "score"], "preference"),
    ],
)
def test_shape_is_found_by_columns(columns: list[str], shape: str) -> None:
    assert detect(columns, tuple(SHAPES)) == shape


def test_unknown_columns_are_listed_with_what_is_expected() -> None:
    with pytest.raises(
        ValueError, match=r"columns found: question, answer; expected one of: messages \(\+ tools\) \(chat\); conv"
    ):
        detect(["question", "answer"], tuple(SHAPES))


def test_ambiguous_columns_ask_for_a_format() -> None:
    with pytest.raises(ValueError, match=r"fit alpaca and text; set data\.format"):
        detect(["instruction", "output", "text"], tuple(SHAPES))


def test_the_objective_decides_between_shapes() -> None:
    columns = ["prompt", "completion", "label"]
    assert detect(columns, SftSpec.row_formats) == "prompt_completion"
    assert detect(columns, KtoSpec.row_formats) == "labelled_completion"
    wrong = r"fit prompt_completion, which is for another objective\.type; expected one of: chosen \+ rejected"
    with pytest.raises(ValueError, match=wrong):
        detect(["prompt", "completion"], DpoSpec.row_formats)


@pytest.mark.parametrize(
    ("shape", "record", "expected"),
    [
        ("chat", {"messages": [USER, ANSWER], "id": 7}, [USER, ANSWER]),
        ("chat", {"messages": [SYSTEM, USER, ANSWER, USER, ANSWER]}, [SYSTEM, USER, ANSWER, USER, ANSWER]),
        ("chat", {"messages": [{**USER, "name": None}, ANSWER]}, [USER, ANSWER]),
        ("prompt_completion", {"prompt": "hello", "completion": "world"}, [USER, ANSWER]),
        ("alpaca", {"instruction": "hello", "output": "world"}, [USER, ANSWER]),
        ("alpaca", {"instruction": "hello", "input": " ", "output": "world"}, [USER, ANSWER]),
        (
            "alpaca",
            {"instruction": "add", "input": "1 2", "output": "3"},
            [{"role": "user", "content": "add\n\n1 2"}, {"role": "assistant", "content": "3"}],
        ),
        ("text", {"text": " once "}, " once "),
    ],
)
def test_every_shape_becomes_one_form(shape: str, record: dict[str, Any], expected: object) -> None:
    assert read_row(record, SHAPES[shape])[0] == expected


def test_system_prompt_is_put_first_unless_there_is_one() -> None:
    row = {"messages": [USER, ANSWER]}
    led, _ = read_row(row, SHAPES["chat"], "be kind")
    assert led == [{"role": "system", "content": "be kind"}, USER, ANSWER]
    own, _ = read_row({"messages": [SYSTEM, USER, ANSWER]}, SHAPES["chat"], "be kind")
    assert own == [SYSTEM, USER, ANSWER]
    assert read_row({"text": "plain"}, SHAPES["text"], "be kind")[0] == "plain"
    segments = {"segments": [{"label": True, "text": "plain"}]}
    assert read_row(segments, SHAPES["segments"], "be kind")[0] == [{"role": "target", "content": "plain"}]


@pytest.mark.parametrize(
    ("messages", "reason", "detail"),
    [
        ("hello", "wrong type", "messages is text"),
        (None, "wrong type", "messages is null"),
        ([], "wrong roles", "the last message is missing"),
        (["hello"], "wrong type", "message 1 is text"),
        ([USER], "wrong roles", "the last message is user"),
        ([ANSWER], "wrong roles", "message 1 is assistant, expected user"),
        ([USER, SYSTEM, ANSWER], "wrong roles", "message 2 is system, expected assistant"),
        ([SYSTEM, USER, USER, ANSWER], "wrong roles", "message 3 is user, expected assistant"),
        ([SYSTEM], "wrong roles", "the last message is system"),
        ([{"role": "narrator", "content": "x"}, ANSWER], "wrong roles", "role 'narrator'"),
        ([{"role": ["user"], "content": "x"}, ANSWER], "wrong roles", "role"),
        ([{"content": "x"}, ANSWER], "wrong roles", "role None"),
        ([{"role": "user"}, ANSWER], "wrong type", "message 1 (user): content is null"),
        ([{"role": "user", "content": [1]}, ANSWER], "wrong type", "content is a list"),
        ([USER, {"role": "assistant", "content": " \n"}], "empty", "message 2 (assistant): content is empty"),
        ([USER, {**ANSWER, "mood": "good"}], "wrong columns", "message 2 has 'mood'; expected role and content"),
        ([{**USER, "tool_calls": []}, ANSWER], "wrong columns", "message 1 (user): has 'tool_calls', which is for ano"),
        ([{**USER, "weight": 1}, ANSWER], "wrong columns", "message 1 (user): has a weight; only answers"),
        ([USER, {**ANSWER, "weight": "1"}], "wrong type", "message 2 (assistant): weight is text"),
        ([USER, {**ANSWER, "weight": True}], "wrong type", "weight is a boolean"),
        ([USER, {**ANSWER, "weight": -0.5}], "wrong type", "weight is -0.5; expected 0 or a positive number"),
        ([USER, {**ANSWER, "weight": float("nan")}], "wrong type", "weight is nan"),
    ],
)
def test_bad_conversation_is_named_by_message(messages: object, reason: str, detail: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row({"messages": messages}, SHAPES["chat"])
    assert caught.value.reason == reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    ("given", "weights"),
    [([None, 1], None), ([0, None], [0.0, 1.0]), ([0.25, 2], [0.25, 2.0])],
)
def test_weights_of_the_answers_are_noted_and_not_part_of_the_text(
    given: list[float | None], weights: list[float] | None
) -> None:
    answers = [ANSWER if weight is None else {**ANSWER, "weight": weight} for weight in given]
    row = {"messages": [SYSTEM, USER, answers[0], {**USER, "weight": None}, answers[1]]}
    content, notes = read_row(row, SHAPES["chat"])
    assert (content, notes.weights) == ([SYSTEM, USER, ANSWER, USER, ANSWER], weights)


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"prompt": "a"}, "wrong columns", "no completion; found 'prompt', expected prompt + completion"),
        ({"prompt": "a", "completion": ""}, "empty", "completion is empty"),
        ({"prompt": "a", "completion": 3}, "wrong type", "completion is a number"),
        ({"prompt": None, "completion": "b"}, "wrong type", "prompt is null"),
        ([1, 2], "wrong type", "a list; expected a JSON object"),
    ],
)
def test_bad_pair_is_named_by_column(record: object, reason: str, detail: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(record, SHAPES["prompt_completion"])
    assert caught.value.reason == reason
    assert detail in caught.value.detail
