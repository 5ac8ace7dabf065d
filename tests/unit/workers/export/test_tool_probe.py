"""What is read off real chat templates, and off made ones that are hard to read."""

from pathlib import Path

import pytest
import trl

from workers.export.tool_probe import find_tool_use
from workers.models import load_tokenizer

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
_BAR, _GAP = "\N{FULLWIDTH VERTICAL LINE}", "\N{LOWER ONE EIGHTH BLOCK}"
DEEPSEEK = "<|tool_calls_begin|><|tool_call_begin|>function<|tool_sep|>".replace("|", _BAR).replace("_", _GAP)
TURNS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n%s<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IN_LIST = (
    "{% if m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{% else %}{{ m.content }}{% endif %}"
)


def use_of(tiny_model_dir, template):
    tokenizer = load_tokenizer(tiny_model_dir)
    tokenizer.chat_template = template
    return find_tool_use(tokenizer)


@pytest.mark.parametrize(
    ("name", "marker", "has_several", "begins_answer"),
    [
        ("qwen2_5", '<tool_call>\n{"name": "', True, False),
        ("qwen3", '<tool_call>\n{"name": "', True, False),
        ("llama3_1", '{"name": "', False, True),
        ("deepseekv3", DEEPSEEK, True, False),
        ("gptoss", "<|end|><|start|>assistant to=functions.", False, False),
    ],
)
def test_the_form_of_calls_is_what_the_template_writes(tiny_model_dir, name, marker, has_several, begins_answer):
    use = use_of(tiny_model_dir, (TEMPLATES / f"{name}.jinja").read_text())
    assert use.writes_calls
    assert use.writes_tools == (name != "deepseekv3")
    assert use.arguments_as_text == (name == "deepseekv3")
    assert use.calls.before_name.strip() == marker
    assert ((use.calls.between is not None), use.calls.begins_answer) == (has_several, begins_answer)


def test_calls_in_one_list_are_a_form_too(tiny_model_dir):
    use = use_of(tiny_model_dir, TURNS.replace("%s", IN_LIST))
    assert use.calls.before_name == '[TOOL_CALLS] [{"name": "'
    assert use.calls.between == ', "id": "call00001"}, {"name": "'
    assert use.calls.after == ', "id": "call00001"}]<|im_end|>'


@pytest.mark.parametrize("name", ["glm4moe", "lfm2_2_5", "qwen3_5_think"])
def test_calls_that_are_not_json_have_no_form(tiny_model_dir, name):
    use = use_of(tiny_model_dir, (TEMPLATES / f"{name}.jinja").read_text())
    assert (use.writes_tools, use.writes_calls, use.calls) == (True, True, None)


@pytest.mark.parametrize(
    "written",
    [
        "{{ m.content }}{{ m.tool_calls }}",
        "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function | tojson | tojson }}{% endfor %}",
        "{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.arguments | tojson }} for {{ c.function.name }}{% endfor %}",
        "{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }}({{ c.function.arguments | tojson }}){% endfor %}",
    ],
    ids=["Python", "JSON in JSON", "arguments first", "no marker"],
)
def test_calls_that_cannot_be_told_from_text_have_no_form(tiny_model_dir, written):
    assert use_of(tiny_model_dir, TURNS.replace("%s", written)).calls is None


def test_a_template_without_tools_writes_none(tiny_model_dir):
    use = find_tool_use(load_tokenizer(tiny_model_dir))
    assert (use.writes_tools, use.writes_calls, use.calls) == (False, False, None)


def test_what_was_found_survives_its_file(tiny_model_dir, tmp_path):
    for name in ("qwen2_5", "glm4moe"):
        use = use_of(tiny_model_dir, (TEMPLATES / f"{name}.jinja").read_text())
        use.write(tmp_path / name)
        assert type(use).read(tmp_path / name) == use
