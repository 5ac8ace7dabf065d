"""Our rendering of chat templates against that of transformers, and templates that want all the time and memory."""

import itertools
import resource
import threading
import time
from pathlib import Path

import pytest
import trl
from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from workers.export.triton_backend.chat_template import RENDERING_FAULTS, compiled, render_template
from workers.export.triton_backend.template_work import BASE_STEPS, WORK, TemplateLimitError, Work

REAL = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": 'A "city" & <more>'},
        "days": {"type": "array", "items": {"type": "integer"}, "enum": [1, 2.5, None, True]},
    },
    "required": ["city"],
}
TOOLS = [{"type": "function", "function": {"name": "sky", "description": "Looks.\nUp.", "parameters": SCHEMA}}]
SYSTEM = {"role": "system", "content": "Be brief. "}
USER = {"role": "user", "content": " What's in {{ x }} % d?\n"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nRain \u6f22.", "reasoning_content": "hm"}
ANSWER = {"role": "assistant", "content": "Sun", "name": None}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "id": "call00001", "function": {"name": "sky", "arguments": {"city": "Oslo"}}}],
}
RESULT = {"role": "tool", "content": '{"sky": "clear"}', "tool_call_id": "call00001", "name": "sky"}
CONVERSATIONS = (
    [USER],
    [SYSTEM, USER, ANSWER],
    [USER, THOUGHT, USER],
    [SYSTEM, USER, CALL, RESULT, ANSWER, USER],
    [USER, CALL, RESULT, RESULT],
    [SYSTEM],
    [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}, ANSWER],
)

DOUBLING = "{%% set ns = namespace(s='x') %%}{%% for i in range(99) %%}{%% set ns.s = %s %%}{%% endfor %%}{{ ns.s }}"
FOR_EVER = "{%% for a in range(99999) %%}{%% for b in range(99999) %%}%s{%% endfor %%}{%% endfor %%}"
PAIRS = "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = (ns.s, ns.s) %}{% endfor %}"
MEGABYTE = "{% set s = 'x' * 1000000 %}"
HOSTILE = {
    "repeated text": "{{ 'x' * 10**10 }}",
    "a repeated list": "{{ (1, 2) * 10**9 }}",
    "a power": "{{ 2 ** (10**8) }}",
    "numbers that grow": DOUBLING.replace("'x'", "3") % "ns.s * ns.s",
    "a long number": "{{ ('f' * 1000000) | int(base=16) }}",
    "rounding": "{{ 1 | round(-10**9) }}",
    "a width in %": "{{ '%1000000000d' % 1 }}",
    "a width beside %": "{{ '%*d' % (10**9, 1) }}",
    "a width in the filter format": "{{ '%1000000000d' | format(1) }}",
    "a width in format": "{{ '{:1000000000d}'.format(1) }}",
    "a width beside format": "{{ '{:{}}'.format(1, 10**9) }}",
    "center": "{{ 'a' | center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "expandtabs": "{{ '\t'.expandtabs(10**9) }}",
    "indent": "{{ 'a' | indent(10**9) }}",
    "indented JSON": "{{ {'a': 1} | tojson(indent=10**9) }}",
    "wordwrap": "{{ ('a b ' * 9999) | wordwrap(1, wrapstring='x' * 10**7) }}",
    "batch": "{{ [1] | batch(10**10, 'x') | list }}",
    "slice": "{{ [1] | slice(10**12) | list }}",
    "bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "translate": "{{ ('a' * 1000000).translate({97: 'x' * 1000000}) }}",
    "a slow codec": "{{ ('é' * 500000).encode('punycode') }}",
    "tags": "{{ ('<!---->' * 500000) | striptags }}",
    "lorem ipsum": "{{ lipsum(10**9) }}",
    "join": MEGABYTE + "{{ ([s] * 1000) | join }}",
    "join of what is lazy": MEGABYTE + "{{ range(99999) | map('replace', '1', s) | join }}",
    "a method that joins": MEGABYTE + "{{ ''.join([s] * 1000) }}",
    "lists added up": "{{ ([range(999) | list] * 9999) | sum(start=[]) }}",
    "names with many dots": "{{ range(99999) | map('string') | map(attribute='a' ~ '.a' * 100000) | list }}",
    "text doubled by +": DOUBLING % "ns.s + ns.s",
    "text doubled by ~": DOUBLING % "ns.s ~ ns.s",
    "text doubled by %": DOUBLING % "'%s%s' % (ns.s, ns.s)",
    "text doubled by format": DOUBLING % "'{0}{0}'.format(ns.s)",
    "text doubled by replace": DOUBLING % "ns.s.replace('x', 'xx')",
    "text doubled by a block": "{% set ns = namespace(s='x') %}{% for i in range(99) %}"
    "{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
    "lists doubled": DOUBLING % "[ns.s, ns.s]",
    "namespaces doubled": DOUBLING % "namespace(a=ns.s, b=ns.s)",
    "a big key": PAIRS + "{{ {ns.s: 1} }}",
    "a big index": PAIRS + "{{ {}[ns.s] }}",
    "a big member": PAIRS + "{{ ns.s in {} }}",
    "a big argument": PAIRS + "{{ {}.get(ns.s) }}",
    "big twins": PAIRS + "{{ ns.s == (ns.s[0], ns.s[1]) }}",
    "big JSON": PAIRS + "{{ ns.s | tojson }}",
    "loops": FOR_EVER % "",
    "loops of no turn": "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "loops of themselves": "{% for a in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}",
    "much output": MEGABYTE + FOR_EVER % "{{ s }}",
    "slices": MEGABYTE + FOR_EVER % "{% set t = s[1:] %}",
    "searches": MEGABYTE + FOR_EVER % "{{ 'y' in s }}",
    "calls": FOR_EVER % "{{ strftime_now('%Y') }}",
    "macros that call themselves twice": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(100) }}",
    "lists within lists": "{% set ns = namespace(l=[1]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}"
    "{% endfor %}{{ ns.l | tojson }}",
    "a long template": "x" * 300_000,
}


def ours(source, messages, tools, head):
    try:
        return render_template(source, messages, tools, TOKENS, add_generation_prompt=head)
    except (TemplateError, *RENDERING_FAULTS) as error:
        return type(error)


def theirs(source, messages, tools, head):
    # What apply_chat_template leaves out of messages before it renders them.
    given = [{key: value for key, value in message.items() if value is not None} for message in messages]
    try:
        texts, _ = render_jinja_template(
            [given], tools=tools, chat_template=source, add_generation_prompt=head, **TOKENS
        )
    except (TemplateError, *RENDERING_FAULTS) as error:
        return type(error)
    return texts[0]


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_templates_write_what_transformers_has_them_write(path):
    source = path.read_text()
    for messages, tools, head in itertools.product(CONVERSATIONS, (None, TOOLS), (False, True)):
        assert ours(source, messages, tools, head) == theirs(source, messages, tools, head)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 7 // 2 }}{{ 7 % 4 }}{{ 2 ** 3 }}{{ 2 * 'ab' }}{{ [1] + [2] }}{{ '%s:%05d' % ('a', 7) }}{{ 1 - -1 }}",
        "{{ '{0:>5}|{x!r}'.format(1, x='y') }}{{ 'a,b' .split(',') | join('-') }}{{ 'x' ~ 1 ~ none }}",
        "{{ messages | map(attribute='role') | unique | join('|') }}"
        "{{ messages | selectattr('role', 'eq', 'user') | list }}",
        "{% set xs = messages | map(attribute='role') %}{{ xs | list }}{{ xs | list }}{{ xs is iterable }}",
        "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{{ m.role }}"
        "{% else %}none{% endfor %}{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}",
        "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ caller() if caller }}{% endmacro %}{{ m(1, 3, 4) }}"
        "{% call m(5) %}in{% endcall %}",
        "{% autoescape true %}{{ messages[0].role ~ '<' ~ ('&' | safe) }}{{ '<' }}{% endautoescape %}{{ '<b>' | e }}",
        "{% filter upper %}a{% endfilter %}{% block b %}{{ 'c' }}{% endblock %}{{ self.b() }}",
        "{% generation %}{{ messages[0].content[1:4] }}{% endgeneration %}{{ messages[-1]['role'][::-1] }}",
        "{{ [3, 1, 2] | sort | first }}{{ [1, 2] | sum }}{{ 2.567 | round(1) }}{{ 'a b' | title | center(9) }}",
        "{{ tools | tojson(indent=2) if tools }}{{ {'b': [1, none], 'a': '\u00e9'} | tojson(sort_keys=true) }}",
        "{{ messages }}{{ undefined_name }}{{ none }}{{ 1 in [1, 2] }}{{ 'a' in {'a': 1} }}{{ 1 < 2 <= 2 }}",
        "{{ 'a\nb' | indent(2, true) }}{{ 'a b c' | wordwrap(3) }}{{ [1, 2, 3] | batch(2, 0) | list }}",
        "{{ missing.thing }}",
        "{{ 1 + 'a' }}",
        "{% for %}",
        "{{ x | no_such_filter }}",
    ],
)
def test_whatever_jinja_can_do_is_done_as_ever(source):
    for messages, tools in itertools.product(CONVERSATIONS, (None, TOOLS)):
        assert ours(source, messages, tools, head=False) == theirs(source, messages, tools, head=False)


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_wants_all_is_stopped(source):
    started, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TemplateLimitError, match=r"^(line 1: )?it (needs|makes|puts) |characters, and may have"):
        render_template(source, [USER], None, TOKENS, add_generation_prompt=False)
    assert time.process_time() - started < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 400 << 10  # KiB


def test_the_line_is_that_of_the_template():
    with pytest.raises(TemplateLimitError, match="line 3: "):
        render_template("{# one #}\n{% if messages %}\n{{ 'x' * 10**10 }}\n{% endif %}", [USER], None, TOKENS,
                        add_generation_prompt=False)  # fmt: skip


def test_templates_that_cannot_be_compiled_are_no_templates():
    for source in ("{{ " + "-" * 5000 + "1 }}", "{% if a %}" * 150 + "{% endif %}" * 150, "{{ " + "9" * 5000 + " }}"):
        with pytest.raises(TemplateError, match="it cannot be compiled: "):
            compiled(source)


def test_a_long_conversation_may_take_more():
    words = "{% for i in range(15) %}{% set t = messages[0].content | trim %}{{ t }}{% endfor %}"
    long = [{"role": "user", "content": "word " * 500_000}]
    assert len(render_template(words, long, None, TOKENS, add_generation_prompt=False)) == 15 * (2_500_000 - 1)


def test_real_templates_take_a_small_part_of_what_they_may():
    messages = [SYSTEM, *[USER, ANSWER] * 127]
    num_rendered = 0
    for path in REAL:
        work = Work([])
        WORK.set(work)
        try:
            compiled(path.read_text()).render(messages=messages, tools=TOOLS, documents=None, **TOKENS)
        except TemplateError:
            continue
        num_rendered += 1
        work.spend(BASE_STEPS // 2)  # raises where they are not left
    assert num_rendered > len(REAL) // 2


def test_threads_do_not_share_what_they_may_take():
    source = "{% for i in range(99999) %}{% for j in range(9) %}{% endfor %}{% endfor %}{{ messages[0].content }}"
    made = []

    def render():
        made.append(render_template(source, [USER], None, TOKENS, add_generation_prompt=False))

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [USER["content"]] * 4
