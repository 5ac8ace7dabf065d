"""What a chat request becomes on the wire to the model, and what is refused before any model is asked."""

import json

import pytest

from gateway.chat_request import MAX_CONTENT_BYTES, MAX_MESSAGES, to_inference
from luthier.errors import InvalidRequestError
from luthier.inference_wire import InferenceChunk
from luthier.v1.inference_service_pb2 import ChatMessage, ChatRequest, ToolCall

USER = ChatMessage(role="user", content="sky?")
TOOLS = [{"type": "function", "function": {"z": 1, "name": "sky", "a": {"y": None, "b": "Zürich"}}}]
HALF = "x" * (MAX_CONTENT_BYTES // 2)


def test_tools_and_calls_go_over_as_they_were_written():
    call = ToolCall(id="c1", name="sky", arguments_json='{"b":1, "a":null}')
    messages = [
        USER,
        ChatMessage(role="assistant", tool_calls=[call]),
        ChatMessage(role="tool", content="fog", tool_call_id="c1", name="sky"),
    ]
    asked = to_inference(ChatRequest(messages=messages, tools_json=json.dumps(TOOLS), tool_choice="auto"))
    document = json.loads(asked.encode())
    assert json.dumps(document["tools"]) == json.dumps(TOOLS)
    assert document["messages"] == [
        {"role": "user", "content": "sky?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "sky", "arguments": '{"b":1, "a":null}'}}
            ],
        },
        {"role": "tool", "content": "fog", "tool_call_id": "c1", "name": "sky"},
    ]
    assert asked.needs_tools


def test_without_tools_nothing_of_them_is_said():
    asked = to_inference(ChatRequest(messages=[USER]))
    assert json.loads(asked.encode()) == {"messages": [{"role": "user", "content": "sky?"}], "temperature": 0.0}
    assert not asked.needs_tools


@pytest.mark.parametrize(
    ("choice", "is_told"),
    [("", True), ("auto", True), ("none", False)],
)
def test_a_choice_is_kept(choice, is_told):
    asked = to_inference(ChatRequest(messages=[USER], tools_json=json.dumps(TOOLS), tool_choice=choice))
    assert (asked.tools is not None) == is_told


@pytest.mark.parametrize("choice", ["required", "AUTO", "sky", '{"type": "function"}'])
def test_a_choice_that_cannot_be_kept_is_refused(choice):
    with pytest.raises(InvalidRequestError, match=r"tool_choice .* cannot be kept.*give 'auto' or 'none'"):
        to_inference(ChatRequest(messages=[USER], tool_choice=choice))


@pytest.mark.parametrize("tools", ["{", "tools", "[" * 100_000, '["\\ud800"]'])
@pytest.mark.parametrize("choice", ["auto", "none"])
def test_tools_that_are_no_json_are_refused(tools, choice):
    with pytest.raises(InvalidRequestError, match="tools_json is not JSON"):
        to_inference(ChatRequest(messages=[USER], tools_json=tools, tool_choice=choice))


@pytest.mark.parametrize(
    "request_",
    [
        {"messages": [ChatMessage(role="user", content=HALF)], "tools_json": json.dumps([HALF])},
        {"messages": [ChatMessage(role="assistant", tool_calls=[ToolCall(name=HALF, arguments_json=HALF, id="x")])]},
        {"messages": [ChatMessage(role="tool", tool_call_id=HALF, name=HALF, content="x")]},
    ],
    ids=["tools", "calls", "results"],
)
def test_everything_counts_for_the_size(request_):
    with pytest.raises(InvalidRequestError, match=r"have \d{7} bytes; send at most 1048576"):
        to_inference(ChatRequest(**request_))


def test_messages_are_counted():
    with pytest.raises(InvalidRequestError, match="257 messages are too many; send at most 256"):
        to_inference(ChatRequest(messages=[USER] * (MAX_MESSAGES + 1)))


def test_chunks_of_a_model_from_before_tools_are_known_by_it():
    old = {"text": "a", "token_ids": [1], "finish_reason": "", "num_prompt_tokens": 1, "num_completion_tokens": 1}
    assert InferenceChunk.decode(json.dumps(old).encode()).tool_calls is None
    assert InferenceChunk.decode(json.dumps(old | {"tool_calls": []}).encode()).tool_calls == ()
    for broken in ({}, old | {"tool_calls": 3}, old | {"tool_calls": [{"id": "x"}]}):
        with pytest.raises(ValueError, match="something else than a chunk"):
            InferenceChunk.decode(json.dumps(broken).encode())
