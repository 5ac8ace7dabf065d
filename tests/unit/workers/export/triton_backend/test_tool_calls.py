"""Which texts are calls, and what is let through while it is not known yet."""

import pytest

from workers.export.triton_backend.generation import Chunk, TextStream
from workers.export.triton_backend.tool_calls import CallReader, CallStream
from workers.export.triton_backend.tool_use import CallForm
from workers.models import load_tokenizer

TAGGED = CallForm(
    before_name='\n<tool_call>\n{"name": "',
    before_arguments='", "arguments": ',
    between='}\n</tool_call>\n<tool_call>\n{"name": "',
    after="}\n</tool_call><|im_end|>\n",
    begins_answer=False,
)
BARE = CallForm('{"name": "', '", "parameters": ', None, "}<|im_end|>", begins_answer=True)
LISTED = CallForm(
    '[CALLS] [{"name": "', '", "arguments": ', ', "id": "call00001"}, {"name": "', ', "id": "call00002"}]', True
)
ONE = '<tool_call>\n{"name": "sky", "arguments": {"city": "Oslo"}}\n</tool_call>'
TWO = '<tool_call>\n{"name": "sea", "arguments": {}}\n</tool_call>'
LLAMA = '{"name": "sky", "parameters": {"city": "Oslo"}}'
OSLO = '{"city": "Oslo"}'


def reader(form):
    return CallReader(form, ["sky", "sea", "sky.now"], ["<|im_end|>", "<|endoftext|>"])


@pytest.mark.parametrize(
    ("form", "text", "start", "calls"),
    [
        (TAGGED, ONE, 0, [("sky", OSLO)]),
        (TAGGED, f"Let me look.\n{ONE}", 13, [("sky", OSLO)]),
        (TAGGED, f"{ONE}\n{TWO}", 0, [("sky", OSLO), ("sea", "{}")]),
        (TAGGED, f"{ONE}{TWO}\n", 0, [("sky", OSLO), ("sea", "{}")]),
        (TAGGED, f"I write <tool_call> now: {ONE}", 25, [("sky", OSLO)]),
        (
            TAGGED,
            '<tool_call>{"name":"sky.now", "arguments":  {"a": [1, {"b": "}</tool_call>"}]}}</tool_call>',
            0,
            [("sky.now", '{"a": [1, {"b": "}</tool_call>"}]}')],
        ),
        (TAGGED, ONE.replace("sky", "sky.now"), 0, [("sky.now", OSLO)]),
        (BARE, LLAMA, 0, [("sky", OSLO)]),
        (BARE, f"\n{LLAMA} ", 1, [("sky", OSLO)]),
        (LISTED, '[CALLS][{"name": "sky", "arguments": {"city": "Oslo"}, "id": "a.B-1"}]', 0, [("sky", OSLO)]),
        (
            LISTED,
            '[CALLS] [{"name": "sky", "arguments": {"city": "Oslo"}, "id": "x"}, '
            '{"name": "sea", "arguments": {}, "id": ""}]',
            0,
            [("sky", OSLO), ("sea", "{}")],
        ),
    ],
)
def test_calls_are_found_as_they_were_written(form, text, start, calls):
    found_at, found = reader(form).read(text)
    assert (found_at, [(call.name, call.arguments) for call in found]) == (start, calls)
    assert len({call.id for call in found}) == len(found)
    assert all(len(call.id) == 9 and call.id.isalnum() for call in found)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (TAGGED, ""),
        (TAGGED, "It is foggy."),
        (TAGGED, ONE[:-1]),
        (TAGGED, ONE[: -len("\n</tool_call>")]),
        (TAGGED, ONE.replace("sky", "rm")),
        (TAGGED, ONE.replace("sky", "skyline")),
        (TAGGED, ONE.replace(OSLO, '{"city": Oslo}')),
        (TAGGED, ONE.replace(OSLO, '["Oslo"]')),
        (TAGGED, ONE.replace(OSLO, '"Oslo"')),
        (TAGGED, ONE.replace(OSLO, '{"city": NaN}')),
        (TAGGED, ONE.replace(OSLO, '{"a": ' * 100_000)),
        (TAGGED, f"{ONE} That is all."),
        (TAGGED, f"{ONE}\n{TWO.replace('sea', 'rm')}"),
        (TAGGED, LLAMA),
        (BARE, f"{LLAMA}{LLAMA}"),
        (BARE, f"I would write {LLAMA}"),
        (BARE, f'{{"x": {LLAMA}}}'),
    ],
)
def test_everything_else_is_text(form, text):
    assert reader(form).read(text) == (len(text), [])


def streamed(tokenizer, form, text, finish_reason="stop"):
    """What comes out of a stream, of an answer that arrives token by token."""
    stream = CallStream(reader(form), TextStream(tokenizer, skip_special_tokens=False))
    plain, sent = TextStream(tokenizer), []
    for token in tokenizer.encode(text, add_special_tokens=False):
        sent.append(stream.push(Chunk(plain.push(token), [token], "", 1, 1)))
    return [*sent, stream.push(Chunk(plain.flush(), [], finish_reason, 1, 1))]


@pytest.mark.parametrize("form", [TAGGED, BARE], ids=["tagged", "bare"])
@pytest.mark.parametrize(
    "text",
    [
        "It is foggy: 1 < 2, and <tool> is héllo 😀.",
        " {}[]:, \n\n",
        "",
        '{"name": 3}',
        "x <tool_call> y",
        f"{ONE} Done.",
        ONE.replace("sky", "rm"),
        "a<|endoftext|>b<|endoftext|>",
    ],
)
def test_no_text_is_lost_or_changed(tiny_model_dir, form, text):
    tokenizer = load_tokenizer(tiny_model_dir)
    sent = streamed(tokenizer, form, text)
    assert "".join(chunk["text"] for chunk in sent) == text.replace("<|endoftext|>", "")
    assert sent[-1]["finish_reason"] == "stop"
    assert all(chunk["tool_calls"] == [] for chunk in sent)


def test_text_is_let_through_as_soon_as_it_is_no_call(tiny_model_dir):
    tokenizer = load_tokenizer(tiny_model_dir)
    sent = streamed(tokenizer, TAGGED, "hello world")
    assert "".join(chunk["text"] for chunk in sent[:-1]) == "hello world"
    sent = streamed(tokenizer, TAGGED, "1 <2 3")
    assert len([chunk for chunk in sent if chunk["text"]]) > 2


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        (TAGGED, f"Let me look. \n{ONE}\n{TWO}", "Let me look."),
        (TAGGED, f"1 < 2 {ONE}", "1 < 2"),
        (TAGGED, f"<|endoftext|>so<|endoftext|>{ONE}", "so"),
        (BARE, LLAMA, ""),
    ],
)
def test_calls_are_no_text_and_come_last(tiny_model_dir, form, text, said):
    sent = streamed(load_tokenizer(tiny_model_dir), form, text)
    assert "".join(chunk["text"] for chunk in sent) == said
    assert [bool(chunk["tool_calls"]) for chunk in sent] == [False] * (len(sent) - 1) + [True]
    assert sent[-1]["finish_reason"] == "tool_calls"
    assert sent[-1]["tool_calls"][0] | {"id": ""} == {"id": "", "name": "sky", "arguments": OSLO}


def test_an_answer_that_was_cut_is_text(tiny_model_dir):
    sent = streamed(load_tokenizer(tiny_model_dir), TAGGED, ONE, "length")
    assert "".join(chunk["text"] for chunk in sent) == ONE
    assert (sent[-1]["finish_reason"], sent[-1]["tool_calls"]) == ("length", [])
