"""Rows with tools, calls and reasoning: read in every spelling, written by real templates, refused if one drops one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trl
from transformers import PreTrainedTokenizerBase

from luthier.spec import SftSpec
from workers.data.dataset import load_split
from workers.data.problems import RowError
from workers.data.shapes import SHAPES, read_row
from workers.data.tokens.arguments import for_template, wants_text
from workers.data.tokens.encode import Encoded, Encoder
from workers.data.tokens.render import render_prompt
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
TEMPLATES = Path(trl.__file__).parent / "chat_templates"
USER = {"role": "user", "content": "weather in Paris?"}
ANSWER = {"role": "assistant", "content": "sunny"}
RESULT = {"role": "tool", "content": '{"sky": "clear"}'}
ARGUMENTS = {"city": "Paris", "days": 2}
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris", "days": 2}'}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
FUNCTION = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
TOOLS = json.dumps([{"type": "function", "function": FUNCTION}])


def template(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text()


def chat(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    content, _ = read_row({"messages": list(messages)}, SHAPES["chat"])
    assert isinstance(content, list)
    return content


def trained(tokenizer: PreTrainedTokenizerBase, row: Encoded | RowError) -> list[str]:
    """Decoded runs of trainable tokens."""
    assert isinstance(row, Encoded), row
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row.trainable, [False]]).astype(int)))
    return [str(tokenizer.decode(row.input_ids[a:b])) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize(
    "message",
    [
        CALLS,
        {**CALLS, "content": None},
        {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": ARGUMENTS}}]},
        {"role": "assistant", "tool_calls": [{"name": "get_weather", "arguments": {**ARGUMENTS, "unit": None}}]},
        {"role": "assistant", "tool_calls": json.dumps([CALL])},
        {"role": "assistant", "content": None, "function_call": {"name": "get_weather", "arguments": ARGUMENTS}},
        {"role": "function_call", "content": json.dumps({"name": "get_weather", "arguments": ARGUMENTS})},
        {"from": "function_call", "value": json.dumps([{"name": "get_weather", "arguments": ARGUMENTS}])},
        {**CALLS, "reasoning_content": None, "tool_call_id": None, "name": None, "weight": 1},
    ],
)
def test_every_way_to_write_a_call_is_one(message: dict[str, Any]) -> None:
    assert chat(USER, message) == [USER, CALLS]


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_every_way_to_write_reasoning_is_one(key: str) -> None:
    assert chat(USER, {**ANSWER, key: "hm"}) == [USER, {**ANSWER, "reasoning_content": "hm"}]
    assert chat(USER, {**ANSWER, key: ""}) == [USER, ANSWER]


@pytest.mark.parametrize(
    "tools",
    [[{"type": "function", "function": FUNCTION}], [FUNCTION], TOOLS, [json.dumps(FUNCTION)], [{"function": FUNCTION}]],
)
def test_every_way_to_write_a_tool_is_one(tools: object) -> None:
    _, notes = read_row({"messages": [USER, ANSWER], "tools": tools}, SHAPES["chat"])
    assert notes.tools == TOOLS


@pytest.mark.parametrize("tools", [None, [], "", "[]", "null"])
def test_no_tools_are_none(tools: object) -> None:
    assert read_row({"messages": [USER, ANSWER], "tools": tools}, SHAPES["chat"])[1].tools is None


def _with_ids(*ids: str) -> dict[str, Any]:
    return {**CALLS, "tool_calls": [{**CALL, "id": id_} for id_ in ids]}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, CALLS],
        [USER, CALLS, RESULT, ANSWER],
        [USER, CALLS, RESULT, CALLS, RESULT, ANSWER, USER, ANSWER],
        [USER, {**CALLS, "tool_calls": [CALL, CALL]}, RESULT, RESULT, ANSWER],
        [USER, {**CALLS, "tool_calls": [CALL, CALL]}, RESULT, ANSWER],
        [USER, _with_ids("a", "b"), {**RESULT, "tool_call_id": "b"}, {**RESULT, "tool_call_id": "a"}, ANSWER],
        [USER, _with_ids("a", "b"), RESULT, {**RESULT, "name": "get_weather"}, ANSWER],
        [{"role": "developer", "content": "be brief"}, USER, CALLS, {**RESULT, "content": ""}, ANSWER],
    ],
)
def test_results_follow_calls(messages: list[dict[str, Any]]) -> None:
    assert len(chat(*messages)) == len(messages)


@pytest.mark.parametrize(
    ("messages", "detail"),
    [
        ([USER, RESULT, ANSWER], "message 2 is the result of no tool call: no call waits for one"),
        ([USER, ANSWER, RESULT, ANSWER], "message 3 is the result of no tool call"),
        ([USER, CALLS, RESULT, RESULT, ANSWER], "message 4 is the result of no tool call"),
        ([USER, CALLS, USER, ANSWER], "message 3 is user, but a tool call of message 2 has no result; expected a tool"),
        ([USER, CALLS, ANSWER], "message 3 is assistant, but a tool call of message 2 has no result"),
        ([USER, CALLS, RESULT, USER, ANSWER], "message 4 is user, expected assistant"),
        ([USER, CALLS, RESULT], "the last message is tool; expected an answer of the assistant"),
        ([USER, _with_ids("a"), {**RESULT, "tool_call_id": "z"}, ANSWER], "tool_call_id 'z' is none of 'a'"),
        ([USER, _with_ids("a", "b"), {**RESULT, "tool_call_id": "b"}, ANSWER], "message 4 is assistant, but a tool"),
    ],
)
def test_calls_without_results_and_results_without_calls_are_named(messages: list[dict[str, Any]], detail: str) -> None:
    with pytest.raises(RowError) as caught:
        chat(*messages)
    assert (caught.value.reason, detail in caught.value.detail) == ("wrong roles", True), caught.value.detail


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"messages": [USER, {**CALLS, "tool_calls": [{}]}]}, "wrong type", "tool call 1 has no name"),
        ({"messages": [USER, {**CALLS, "tool_calls": ["x"]}]}, "wrong type", "tool call 1 is text"),
        ({"messages": [USER, {**CALLS, "tool_calls": "[{"}]}, "broken JSON", "tool_calls"),
        ({"messages": [USER, {"role": "function_call", "content": "hello"}]}, "broken JSON", "expected a call as JSON"),
        (
            {"messages": [USER, {**CALLS, "tool_calls": [{"name": "f", "arguments": "{"}]}]},
            "broken JSON",
            "message 2 (assistant): tool call 1 is broken JSON",
        ),
        (
            {"messages": [USER, {**CALLS, "tool_calls": [{"name": "f", "arguments": [1]}]}]},
            "wrong type",
            "has a list as arguments; expected an object",
        ),
        ({"messages": [{**USER, "reasoning": "hm"}, ANSWER]}, "wrong columns", "has 'reasoning_content', which is for"),
        ({"messages": [USER, {**ANSWER, "name": "x"}]}, "wrong columns", "has 'name', which is for another role"),
        ({"messages": [USER, ANSWER], "tools": {}}, "wrong type", "tools is an object; expected a list of tools"),
        ({"messages": [USER, ANSWER], "tools": [{}]}, "wrong type", "tools: tool 1 has no name"),
        ({"messages": [USER, ANSWER], "tools": [{"type": "browser"}]}, "wrong type", "is of type 'browser'"),
    ],
)
def test_what_is_no_tool_or_call_is_named(record: dict[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(record, SHAPES["chat"])
    assert (caught.value.reason, detail in caught.value.detail) == (reason, True), caught.value.detail


@pytest.mark.parametrize(
    ("name", "as_text"),
    [("qwen2_5", False), ("qwen3", False), ("llama3_1", False), ("deepseekv3", True), ("gptoss", False)],
)
def test_arguments_are_what_the_template_wants(name: str, as_text: bool) -> None:
    assert wants_text(template(name)) == as_text


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "llama3_1", "deepseekv3", "glm4moe"])
def test_a_call_is_trained_on_as_the_template_writes_it(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    tokenizer.chat_template = template(name)
    row = chat(USER, CALLS, RESULT, ANSWER)
    tools = None if name == "deepseekv3" else TOOLS  # it writes calls, and leaves out what may be called
    (encoded,) = Encoder(tokenizer, "last_answer").encode([row], tools=[tools])
    prompt = render_prompt(tokenizer, row[:-1], tools)
    assert isinstance(encoded, Encoded), encoded
    assert encoded.input_ids[: len(prompt)].tolist() == prompt
    offered = None if tools is None else json.loads(tools)
    whole = tokenizer.apply_chat_template(for_template(tokenizer, row), tools=offered, tokenize=False)
    assert str(tokenizer.decode(encoded.input_ids)).startswith(str(whole))
    assert "get_weather" in str(whole)
    assert '"Paris"' in str(whole) or "Paris</arg_value>" in str(whole)


def test_calls_and_answers_are_learned_and_results_are_not(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = template("qwen2_5")
    (encoded,) = Encoder(tokenizer).encode([chat(USER, CALLS, RESULT, ANSWER)], tools=[TOOLS])
    call, answer = trained(tokenizer, encoded)
    written = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call><|im_end|>'
    assert (call.strip(), answer) == (written, "sunny<|im_end|>")


def test_reasoning_is_part_of_the_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = template("qwen3")
    row = chat(USER, {**ANSWER, "reasoning_content": "look outside"})
    (encoded,) = Encoder(tokenizer).encode([row])
    assert trained(tokenizer, encoded) == ["<think>\nlook outside\n</think>\n\nsunny<|im_end|>"]


def test_a_template_that_forgets_reasoning_trains_on_the_last_answer_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = template("qwen3")
    thinks = {**ANSWER, "reasoning_content": "look outside"}
    row = chat(USER, thinks, USER, thinks)
    (every,), (last,), (weighted,) = (
        Encoder(tokenizer).encode([row]),
        Encoder(tokenizer, "last_answer").encode([row]),
        Encoder(tokenizer).encode([row], [[0.0, 1.0]]),
    )
    assert isinstance(every, RowError)
    assert every.reason == "unstable chat template"
    assert trained(tokenizer, last) == trained(tokenizer, weighted)
    assert len(trained(tokenizer, last)) == 1


@pytest.mark.parametrize(
    ("messages", "tools", "lost"),
    [
        ([USER, ANSWER], TOOLS, "the tool get_weather"),
        ([USER, CALLS], None, "the call of get_weather of answer 1"),
        ([USER, {**ANSWER, "reasoning_content": "hm"}], None, "the reasoning of answer 1"),
    ],
)
def test_what_a_template_cannot_say_is_refused(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], tools: str | None, lost: str
) -> None:
    (refused,) = Encoder(tokenizer).encode([chat(*messages)], tools=[tools])
    assert isinstance(refused, RowError)
    assert (refused.reason, lost in refused.detail) == ("refused by the chat template", True), refused.detail
    assert "data.chat_template" in refused.detail


@pytest.mark.parametrize(
    ("name", "tools", "lost"),
    [("deepseekv3", TOOLS, "the tool get_weather"), ("lfm2", TOOLS, "the calls of message 2")],
)
def test_a_name_that_stands_elsewhere_does_not_hide_what_is_lost(
    tokenizer: PreTrainedTokenizerBase, name: str, tools: str, lost: str
) -> None:
    tokenizer.chat_template = template(name)
    (refused,) = Encoder(tokenizer, "last_answer").encode([chat(USER, CALLS, RESULT, ANSWER)], tools=[tools])
    assert isinstance(refused, RowError)
    assert f"leaves out {lost}" in refused.detail


def test_what_is_learned_as_text_has_to_be_there_as_well(tokenizer: PreTrainedTokenizerBase) -> None:
    thinks = {**ANSWER, "reasoning_content": "look outside"}
    rows = [chat(USER, CALLS, RESULT, ANSWER), chat(USER, thinks), chat(USER, ANSWER)]
    lost = Encoder(tokenizer, "everything").encode(rows, tools=[TOOLS, None, None])
    assert [isinstance(row, RowError) for row in lost] == [True, True, False]
    tokenizer.chat_template = template("qwen3")
    rows.append(chat(USER, thinks, USER, thinks))
    found = Encoder(tokenizer, "everything").encode(rows, tools=[TOOLS, None, None, None])
    assert all(isinstance(row, Encoded) for row in found)


def test_a_prompt_with_answers_in_it_is_context_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = template("qwen3")
    row, _ = read_row({"prompt": [USER, {**ANSWER, "thinking": "hm"}, USER]}, SHAPES["prompt"])
    (asked,) = Encoder(tokenizer).encode([row])
    assert isinstance(asked, Encoded), asked
    assert not asked.trainable.any()


def test_a_template_that_leaves_out_an_answer_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role != 'assistant' %}{{ m.content }}{% endif %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (refused,) = Encoder(tokenizer).encode([chat(USER, ANSWER)])
    assert isinstance(refused, RowError)
    assert "leaves out the words of answer 1" in refused.detail


def test_tools_reach_the_dataset_and_what_is_asked_there(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = template("qwen2_5")
    rows = [
        {"messages": [USER, CALLS, RESULT, ANSWER], "tools": json.loads(TOOLS)},
        {"messages": [USER, CALLS, RESULT, ANSWER], "tools": TOOLS},
        {"messages": [USER, CALLS, RESULT, ANSWER]},
        {"messages": [USER, _with_ids("call1"), {**RESULT, "tool_call_id": "call1"}, ANSWER]},
        {"messages": [USER, {**CALLS, "tool_calls": [{"name": "get_weather", "arguments": {"city": "Rome"}}]}]},
    ]
    folder, outcome = run(write_rows(rows), **WHOLE)
    assert outcome.ledger.counts == {"duplicate": 2}, "ids of calls do not tell rows apart, tools and arguments do"
    first, plain, rome = load_split(folder, "train")
    assert (first.tools, plain.tools) == (TOOLS, None)
    assert first.messages == [USER, CALLS, RESULT, ANSWER]
    for example in (first, plain, rome):
        prompt = render_prompt(tokenizer, example.prompt, example.tools)
        assert example.input_ids[: len(prompt)].tolist() == prompt
    (last,) = load_split(run(write_rows(rows[:1]), SftSpec(train_on="last"), **WHOLE)[0], "train")
    assert trained(tokenizer, Encoded(last.input_ids, last.trainable)) == ["sunny<|im_end|>"]


def test_rows_that_the_template_cannot_say_are_invalid_rows(write_rows: Write, run: Run) -> None:
    path = write_rows([{"messages": [USER, ANSWER]}, {"messages": [USER, CALLS]}])
    with pytest.raises(
        DataError, match=r"1 invalid row of 2(.|\n)*line 2: refused by the chat template: it leaves out"
    ):
        run(path, **WHOLE)
    _, outcome = run(path, on_invalid_row="drop", **WHOLE)
    assert outcome.splits["train"].num_rows == 1
