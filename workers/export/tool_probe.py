"""Finds out what a chat template does with tools, by having it write some: the model was trained on what it writes.

The form of calls is read off two renderings, with one call and with two. It counts only if the calls can be read back
from both: a template that writes them in XML, in Python or inside JSON text has none, and answers stay text.
"""

import json
import re
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.data.tokens.arguments import lacking, wants_text
from workers.data.tokens.render import render_texts
from workers.data.tokens.template_limit import naming_template
from workers.export.triton_backend.tool_calls import PROBE_IDS, CallReader
from workers.export.triton_backend.tool_use import CallForm, ToolUse

_WORDS = "luthier answer"
_NAMES = ("luthier_probe", "luthier_other")
# With all that somebody may write in another way than JSON does.
_ARGUMENTS = {"luthier_key": "luthier 'value' \\ \"é\"\n"}
_QUESTION = {"role": "user", "content": "luthier question"}
_TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Nothing.",
            "parameters": {"type": "object", "properties": {"luthier_key": {"type": "string", "description": "Any."}}},
        },
    }
    for name in _NAMES
]


def find_tool_use(tokenizer: PreTrainedTokenizerBase) -> ToolUse:
    """What the chat template of a tokenizer, which has one, does with tools.

    Raises:
        ConfigError: it takes more than a rendering may.
    """
    missing = lacking(tokenizer)
    writes_calls = "calls" not in missing
    with naming_template(tokenizer):
        as_text = wants_text(tokenizer.get_chat_template(tools=_TOOLS))
    return ToolUse(
        writes_tools="tools" not in missing,
        writes_calls=writes_calls,
        arguments_as_text=as_text,
        calls=_call_form(tokenizer) if writes_calls else None,
    )


def _call_form(tokenizer: PreTrainedTokenizerBase) -> CallForm | None:
    one, begins_answer = _answer(tokenizer, 1)
    head, _, rest = one.partition(_NAMES[0])
    start, end = _place_of_arguments(rest)
    if not head.strip() or start == end:
        return None
    two, _ = _answer(tokenizer, 2)
    until_end = f"{head}{_NAMES[0]}{rest[:end]}"
    between, has_two, _ = two.removeprefix(until_end).partition(_NAMES[1])
    form = CallForm(head, rest[:start], between if has_two else None, rest[end:], begins_answer)
    is_read = _reads_back(tokenizer, form, one, 1) and (not has_two or _reads_back(tokenizer, form, two, 2))
    return form if is_read else None


def _place_of_arguments(text: str) -> tuple[int, int]:
    """Where the first call's arguments stand as JSON; twice 0 if they do not."""
    for brace in re.finditer(r"\{", text):
        try:
            found, end = json.JSONDecoder().raw_decode(text, brace.start())
        except ValueError:
            continue
        if found == _ARGUMENTS:
            return brace.start(), end
    return 0, 0


def _answer(tokenizer: PreTrainedTokenizerBase, num_calls: int) -> tuple[str, bool]:
    """What the template writes of an answer with calls, from where its words would end on; and whether it has none.

    Empty if the template refuses it.
    """
    arguments = json.dumps(_ARGUMENTS, ensure_ascii=False)
    calls = [
        {"type": "function", "id": call_id, "function": {"name": name, "arguments": arguments}}
        for call_id, name in zip(PROBE_IDS[:num_calls], _NAMES, strict=False)
    ]
    answer = {"role": "assistant", "content": _WORDS, "tool_calls": calls}
    with_words = _rendered(tokenizer, [_QUESTION, answer])
    if _WORDS in with_words:
        return with_words.partition(_WORDS)[2], False
    prompt = _rendered(tokenizer, [_QUESTION], add_generation_prompt=True)
    whole = _rendered(tokenizer, [_QUESTION, {**answer, "content": ""}])
    return (whole.removeprefix(prompt), True) if prompt and whole.startswith(prompt) else ("", True)


def _rendered(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], add_generation_prompt: bool = False
) -> str:
    try:
        texts = render_texts(
            tokenizer, [messages], add_generation_prompt=add_generation_prompt, tools=[json.dumps(_TOOLS)]
        )
    except TemplateError:
        return ""
    return texts[0]


def _reads_back(tokenizer: PreTrainedTokenizerBase, form: CallForm, text: str, num_calls: int) -> bool:
    """Whether the calls in what the template wrote are found, and nothing before them."""
    stop = tokenizer.eos_token
    said = text.partition(stop)[0] if stop else text
    start, calls = CallReader(form, _NAMES, [stop] if stop else []).read(said)
    return not said[:start].strip() and [call.name for call in calls] == list(_NAMES[:num_calls])
