"""Traced chat templates against Jinja, for the ways in which the templates of models are written."""

import copy
import itertools
from typing import Any

import pytest
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from workers.data.tokens import render
from workers.data.tokens.render import render_texts
from workers.data.tokens.templates import ChatTemplate
from workers.export.triton_backend.chat_template import render_template

PLAIN = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '[sys]You help.[/sys]' }}{% endif %}"
    "{% for m in messages %}{{ '[' ~ m.role ~ ']' ~ m.content ~ '[/' ~ m.role ~ ']' }}{% endfor %}"
    "{{ '[assistant]' if add_generation_prompt }}"
)
TRIMMED = (
    "{{ bos_token }}{% for m in messages %}{% set text = '<' + m.role + '>' + m['content'] | trim + '<eot>' %}"
    "{{ text }}{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
SYSTEM_FIRST = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{{ '[INST] ' }}{% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}"
    "{{ m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content.strip() + eos_token }}{% endif %}{% endfor %}"
)
THOUGHTS = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}"
    "{% if m.role == 'user' and m.content is string and not m.content.startswith('<tool>') %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% set content = m.content %}{% if m.role == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{% if m.role == 'assistant' and loop.index0 > ns.last and loop.last %}"
    "{{ '<' + m.role + '>\n<think>\n\n</think>\n\n' + content.lstrip('\n') + '<end>' }}"
    "{% else %}{{ '<' + m.role + '>' + content + '<end>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
MACRO = (
    "{% macro show(text) %}{{ '(' }}{{ text }}{{ ')' }}{% endmacro %}"
    "{% for m in messages %}{{ m.role }}: {{ show(m.content) }}\n{% endfor %}"
)
BLOCK = "{% for m in messages %}{% set text %}{{ m.role }}={{ m.content }}{% endset %}{{ text }};{% endfor %}"
NO_EMPTY = "{% for m in messages %}{% if m.content %}{{ m.role }}:{{ m.content }}\n{% endif %}{% endfor %}"
# Those that look into contents in a way that is not followed.
SHOUTED = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"
COUNTED = "{% for m in messages %}{{ m.content | length }}{{ m.content }}{% endfor %}"
JSON = "{% for m in messages %}{{ m.content | tojson }}{% endfor %}"
STRIPPED_WHOLE = "{% for m in messages %}{{ ('\n' + m.content) | trim }}{% endfor %}"
STRIPPED_MACRO = (
    "{% macro show(text) %}{{ ' ' ~ text }}{% endmacro %}"
    "{% for m in messages %}{{ show(m.content) | trim }}{% endfor %}"
)
FIRST_LETTER = "{% for m in messages %}{{ m.content[0] }}{{ m.content }}{% endfor %}"
SAME_AS_LAST = "{% for m in messages %}{% if m.content == messages[-1].content %}{{ m.content }}{% endif %}{% endfor %}"
REPLACED = "{% for m in messages %}{{ m.content.replace('a', 'b') }}{% endfor %}"
TEMPLATES = {
    name: value for name, value in globals().items() if name.isupper() and isinstance(value, str) and "{%" in value
}

CONTENTS = (
    "Hello", " padded\n", "", "\n", "a\u00a0b \u2028", "x </think>\n\ny", "<tool>1</tool>", "<think>\nz\n</think>\nw",
    "{{ m }} {% if %}", "\"quoted\" & 'single' \\n", "[0] %s {0}", "0", "\ufdd0 7 \ufdd1", "a", "漢字 😀",
)  # fmt: skip


def conversations() -> list[list[dict[str, str]]]:
    """Every content in every place of conversations of several shapes."""
    roles = [
        ("user",),
        ("user", "assistant"),
        ("system", "user", "assistant"),
        ("user", "assistant", "user", "assistant"),
        ("system", "user", "assistant", "user", "assistant", "user"),
    ]
    rows = []
    for shape, start in itertools.product(roles, range(len(CONTENTS))):
        contents = itertools.islice(itertools.cycle(CONTENTS), start, None, 4)
        rows.append([{"role": role, "content": content} for role, content in zip(shape, contents, strict=False)])
    return rows


def by_jinja(tokenizer: PreTrainedTokenizerBase, row: Any, head: bool) -> str:
    try:
        return render_texts(tokenizer, [row], add_generation_prompt=head)[0]
    except TemplateError as error:
        return f"refused: {error}"


def by_trace(template: ChatTemplate, row: Any, head: bool) -> str:
    try:
        return template.render([row], add_generation_prompt=head)[0]
    except TemplateError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_trace_renders_what_jinja_renders(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    template = ChatTemplate(tokenizer)
    for row, head in itertools.product(conversations(), (False, True)):
        assert by_trace(template, row, head) == by_jinja(tokenizer, row, head)
    assert template.is_trusted


@pytest.mark.parametrize("name", ["PLAIN", "DEFAULT_SYSTEM", "TRIMMED", "SYSTEM_FIRST", "THOUGHTS", "MACRO", "BLOCK"])
def test_most_rows_do_without_jinja(
    name: str, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.chat_template = TEMPLATES[name]
    template = ChatTemplate(tokenizer)
    row = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    expected = template.render([row] * 2, add_generation_prompt=False)
    # The first batch was compared with Jinja, and the 150th row will be.
    calls = []
    monkeypatch.setattr(
        render, "render_template", lambda *args, **kwargs: calls.append(1) or render_template(*args, **kwargs)
    )
    assert template.render([row] * 90, add_generation_prompt=False) == expected[:1] * 90
    assert calls == []
    template.render([row] * 90, add_generation_prompt=False)
    assert calls == [1]


def test_a_template_that_is_changed_behind_the_trace_is_noticed(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = PLAIN
    template = ChatTemplate(tokenizer)
    row = [{"role": "user", "content": "a"}]
    template.render([row], add_generation_prompt=False)
    tokenizer.chat_template = DEFAULT_SYSTEM
    expected = render_texts(tokenizer, [row] * 200, add_generation_prompt=False)
    assert template.render([row] * 200, add_generation_prompt=False) == expected
    assert not template.is_trusted


def test_messages_with_more_than_a_content_are_left_to_jinja(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{{ m.thinking or '' }}{% endfor %}"
    template = ChatTemplate(tokenizer)
    plain = [{"role": "user", "content": "a"}]
    rich = [{"role": "user", "content": "a", "thinking": "hm"}]
    assert template.render([plain, rich, copy.deepcopy(plain)], add_generation_prompt=False) == ["a", "ahm", "a"]


def test_rows_with_tools_are_left_to_jinja(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = (
        "{% if tools %}{{ tools[0].name }}: {% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    template = ChatTemplate(tokenizer)
    rows = [[{"role": "user", "content": "a"}]] * 2
    tools = [None, '[{"name": "clock"}]']
    assert template.render(rows, add_generation_prompt=False, tools=tools) == ["a", "clock: a"]
