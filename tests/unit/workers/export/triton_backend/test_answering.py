"""From the request on the wire to the chunks, through a model that has learned to call a function."""

import json

import pytest

from tests.calling_model import ANSWER, ARGUMENTS, CALL, QUESTION, RESULT, TOOL, WORDS, make_calling_model
from workers.export.tool_probe import find_tool_use
from workers.export.triton_backend.answering import Answerer
from workers.export.triton_backend.generation import ChatModel, RequestError


@pytest.fixture(scope="module")
def answerer(tiny_model_dir, tmp_path_factory):
    model = ChatModel(make_calling_model(tiny_model_dir, tmp_path_factory.mktemp("calling") / "model"))
    return Answerer(model, find_tool_use(model.tokenizer), max_new_tokens=120)


def ask(answerer, **request):
    return list(answerer.answer(json.dumps(request).encode()))


def text_of(chunks):
    return "".join(chunk["text"] for chunk in chunks)


def test_a_call_its_result_and_the_answer(answerer):
    chunks = ask(answerer, messages=[QUESTION], tools=[TOOL])
    (call,) = chunks[-1]["tool_calls"]
    assert (text_of(chunks), chunks[-1]["finish_reason"]) == (WORDS, "tool_calls")
    assert (call["name"], call["arguments"]) == ("sky", ARGUMENTS)
    made = {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
    said = {"role": "assistant", "content": text_of(chunks), "tool_calls": [made]}
    chunks = ask(answerer, messages=[QUESTION, said, {**RESULT, "tool_call_id": call["id"]}], tools=[TOOL])
    assert (text_of(chunks), chunks[-1]["finish_reason"], chunks[-1]["tool_calls"]) == (ANSWER, "stop", [])


def test_a_call_that_was_cut_is_text(answerer):
    whole = ask(answerer, messages=[QUESTION], tools=[TOOL])[-1]["num_completion_tokens"]
    chunks = ask(answerer, messages=[QUESTION], tools=[TOOL], max_new_tokens=whole - 1)
    assert text_of(chunks).startswith(f"{WORDS}<tool_call>\n")
    assert (chunks[-1]["finish_reason"], chunks[-1]["tool_calls"]) == ("length", [])


def test_who_is_offered_nothing_makes_no_calls(answerer):
    asked_with_system = Answerer(answerer.model, answerer.tool_use, 120, system_prompt="be brief")
    for which in (answerer, asked_with_system):
        for offered in ({}, {"tools": []}, {"tools": None}):
            chunks = ask(
                which,
                messages=[QUESTION, {"role": "assistant", "content": "", "tool_calls": [CALL]}, RESULT],
                **offered,
            )
            assert chunks[-1]["finish_reason"] in ("stop", "length")
            assert all(chunk["tool_calls"] == [] for chunk in chunks)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"[", "REQUEST is not JSON"),
        (b"[" * 100_000, "REQUEST is not JSON"),
        (b"[]", "REQUEST must be a JSON object"),
        (b'{"messages": [{"role": "user", "content": "x"}], "tools": {}}', "tools must be a list"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "chat template refuses"),
    ],
)
def test_a_request_that_is_none_is_refused(answerer, payload, message):
    with pytest.raises(RequestError, match=message):
        next(answerer.answer(payload))
