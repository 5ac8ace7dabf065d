"""What a chat template does with tools: whether it writes them, and calls of them, and in which form it wants a call's
arguments, which a row has as JSON text. Some templates print them as JSON themselves, some want the text.

All of that is found by asking a template once. Given an object, it writes JSON, or fails, or writes Python.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.data.tokens.template_limit import naming_template
from workers.export.triton_backend.chat_template import RENDERING_FAULTS, render_template

_NAME, _KEY, _VALUE = "luthier_probe", "luthier_key", "luthier value"
_QUESTION: dict[str, Any] = {"role": "user", "content": "luthier question"}
_AS_OBJECT = {_KEY: _VALUE}
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "Nothing.",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "string"}}},
    },
}
_NO_TOKENS: dict[str, Any] = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "")


def for_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the arguments of their calls as the tokenizer's template wants them."""
    if not any("tool_calls" in message for message in messages):
        return list(messages)
    if wants_text(tokenizer.get_chat_template(tools=[_TOOL])):
        return list(messages)
    return [
        {**message, "tool_calls": [_with_object(call) for call in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


@lru_cache(maxsize=16)
def wants_text(template: str) -> bool:
    """Whether the template writes arguments properly only if they are JSON text.

    Raises:
        TemplateLimitError: it takes more than a rendering may.
    """
    return not _is_json(_probe(template, _AS_OBJECT)) and _is_json(_probe(template, json.dumps(_AS_OBJECT)))


def lacking(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """What the tokenizer's template never writes, of `tools` and `calls`. What it refuses is not among that.

    Raises:
        ConfigError: it takes more than a rendering may.
    """
    with naming_template(tokenizer):
        return _lacking(tokenizer.get_chat_template(tools=[_TOOL]))


@lru_cache(maxsize=16)
def _lacking(template: str) -> frozenset[str]:
    texts = {
        "tools": _render(template, [_QUESTION], [_TOOL]),
        "calls": _probe(template, _AS_OBJECT) or _probe(template, json.dumps(_AS_OBJECT)),
    }
    wanted = {"tools": _NAME, "calls": _VALUE}
    return frozenset(what for what, text in texts.items() if text and wanted[what] not in text)


def _probe(template: str, arguments: object) -> str:
    """What the template makes of a call with these arguments; empty if it fails."""
    call = {"type": "function", "id": "call00001", "function": {"name": _NAME, "arguments": arguments}}
    return _render(template, [_QUESTION, {"role": "assistant", "content": "", "tool_calls": [call]}], [_TOOL])


def _render(template: str, messages: list[dict[str, Any]], tools: list[Any]) -> str:
    try:
        return render_template(template, messages, tools, _NO_TOKENS, add_generation_prompt=False)
    except (TemplateError, *RENDERING_FAULTS):
        return ""


def _is_json(text: str) -> bool:
    """Whether key and value were written, and neither as Python's repr nor as JSON within JSON."""
    return _VALUE in text and f"{{'{_KEY}'" not in text and f'{{\\"{_KEY}' not in text


def _with_object(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
