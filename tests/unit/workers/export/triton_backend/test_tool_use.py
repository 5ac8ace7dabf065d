"""Tools and calls of a request: refused with place and reason, or rendered to the ids that training renders them to."""

import json
from pathlib import Path

import pytest
import trl

from workers.data.shapes import SHAPES, read_row
from workers.data.tokens.render import render_prompt
from workers.export.tool_probe import find_tool_use
from workers.export.triton_backend.generation import ChatModel, RequestError
from workers.export.triton_backend.tool_use import MAX_DEPTH, MAX_TOOLS, ToolUse
from workers.models.template import with_chat_template

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
ALL = ToolUse(writes_tools=True, writes_calls=True, arguments_as_text=False, calls=None)
NOTHING = ToolUse(writes_tools=False, writes_calls=False, arguments_as_text=False, calls=None)
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where? «Zürich»", "default": None}},
    "required": ["city"],
}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Looks out.", "parameters": PARAMETERS}}
TURNED = {"function": {"parameters": PARAMETERS, "strict": None, "description": "Looks up.", "name": "turned"}}
USER = {"role": "user", "content": "weather?"}
TEXT_CALL = {"id": "abc123def", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zürich"}'}}
OBJECT_CALL = {"function": {"arguments": {"city": "Zürich", "unit": None, "n": 1.0}, "name": "weather"}}
RESULT = {"role": "tool", "content": "fog", "tool_call_id": "abc123def", "name": "weather"}


def calling(*calls, **others):
    return {"role": "assistant", "content": "", "tool_calls": list(calls), **others}


def deep(levels):
    schema = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({}, "tools must be a list, not an object"),
        ("[]", "tools must be a list, not text"),
        (False, "tools must be a list, not true or false"),
        ([WEATHER] * (MAX_TOOLS + 1), f"{MAX_TOOLS + 1} tools are too many; offer at most {MAX_TOOLS}"),
        ([WEATHER, "weather"], r"tools\[1\] must be {\"type\": \"function\""),
        ([{"type": "function"}], r"tools\[0\] must be"),
        ([{"name": "weather"}], r"tools\[0\] must be"),
        ([{**WEATHER, "type": "browser"}], r"tools\[0\]\.type must be 'function', not 'browser'"),
        ([{**WEATHER, "type": None}], r"tools\[0\]\.type must be 'function', not None"),
        ([{"type": "function", "function": {}}], r"tools\[0\]\.function\.name must be the name"),
        ([{"type": "function", "function": {"name": "  "}}], r"tools\[0\]\.function\.name must be the name"),
        ([{"type": "function", "function": {"name": 3}}], r"tools\[0\]\.function\.name must be the name"),
        ([{"function": {"name": "f", "parameters": []}}], r"parameters must be an object, a JSON schema, not a list"),
        ([{"function": {"name": "f", "parameters": "{}"}}], r"parameters must be an object, a JSON schema, not text"),
        ([{"function": {"name": "f", "parameters": deep(MAX_DEPTH)}}], r"function has more than 64 objects and lists"),
    ],
)
def test_bad_tools_are_refused_with_their_place(tools, message):
    with pytest.raises(RequestError, match=message):
        ALL.tools(tools)


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        (calling("x"), r"messages\[1\]\.tool_calls\[0\] must be"),
        (calling({"function": {"name": ""}}), r"messages\[1\]\.tool_calls\[0\]\.function\.name must be"),
        (calling(TEXT_CALL, role="user"), r"messages\[1\]\.tool_calls are for messages of the assistant"),
        ({**calling(), "tool_calls": "x"}, r"messages\[1\]\.tool_calls must be a list, not text"),
        (calling({"function": {"name": "f", "arguments": "{"}}), r"function\.arguments is not JSON"),
        (calling({"function": {"name": "f", "arguments": "[" * 100_000}}), r"function\.arguments is not JSON"),
        (calling({"function": {"name": "f", "arguments": "[1]"}}), r"arguments must be an object, not a list"),
        (calling({"function": {"name": "f", "arguments": 3}}), r"arguments must be an object, not a number"),
        (calling({"function": {"name": "f", "arguments": deep(MAX_DEPTH + 1)}}), r"arguments has more than 64"),
    ],
)
def test_bad_calls_are_refused_with_their_place(message, refusal):
    with pytest.raises(RequestError, match=refusal):
        ALL.messages([USER, message])


def test_what_the_template_leaves_out_is_refused():
    with pytest.raises(RequestError, match="chat template does not write tools"):
        NOTHING.tools([WEATHER])
    with pytest.raises(RequestError, match="chat template does not write calls"):
        NOTHING.messages([USER, calling(TEXT_CALL)])
    assert NOTHING.tools([]) is None
    assert NOTHING.messages([USER, {"role": "assistant", "content": "a", "tool_calls": []}]) == [
        USER,
        {"role": "assistant", "content": "a"},
    ]


def test_what_is_no_conversation_is_left_to_be_refused():
    assert ALL.messages("hello") == "hello"
    assert ALL.messages([3]) == [3]


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "llama3_1", "deepseekv3", "glm4moe", "gptoss"])
@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, calling(TEXT_CALL), RESULT],
        [USER, calling(OBJECT_CALL, content=None), {"role": "tool", "content": "fog"}],
        [
            USER,
            calling(TEXT_CALL, content="I look."),
            RESULT,
            {"role": "assistant", "content": "foggy"},
            {"role": "user", "content": "and now?"},
            calling({**TEXT_CALL, "id": "123456789"}),
            {**RESULT, "tool_call_id": "123456789"},
        ],
    ],
    ids=["question", "call as text", "call as object", "two rounds"],
)
def test_serving_renders_tools_to_the_token_ids_of_training(tiny_model_dir, tmp_path, template, messages):
    folder = with_chat_template(tiny_model_dir, (TEMPLATES / f"{template}.jinja").read_text(), tmp_path / "models")
    model = ChatModel(folder)
    use = find_tool_use(model.tokenizer)
    tools = [WEATHER, TURNED] if use.writes_tools else None
    row, notes = read_row(
        {"messages": [*messages, {"role": "assistant", "content": "."}], "tools": tools}, SHAPES["chat"]
    )
    trained = render_prompt(model.tokenizer, row[:-1], notes.tools)
    assert model.render(use.messages(json.loads(json.dumps(messages))), use.tools(tools)) == trained
    text = model.tokenizer.decode(trained)
    assert ("turned" in text) == use.writes_tools
    assert len(messages) == 1 or "Zürich" in text or "Z\\u00fcrich" in text
