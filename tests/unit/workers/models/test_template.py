"""A base model with a chat template of the user's own is a plain model folder, the same one everywhere."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from luthier.artifacts import MANIFEST
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from workers.data.tokens.render import render_texts
from workers.failures import ConfigError
from workers.models import load_tokenizer, resolve_base_of
from workers.models.extend import with_added_tokens
from workers.models.template import with_chat_template

TEMPLATE = (
    "{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}"
    "{{ 'ASSISTANT:' if add_generation_prompt }}"
)
MESSAGES = [{"role": "user", "content": "hello"}]


def test_the_tokenizer_has_it_and_everything_else_is_as_it_was(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = with_chat_template(tiny_model_dir, TEMPLATE, tmp_path)
    tokenizer = load_tokenizer(folder)
    assert render_texts(tokenizer, [MESSAGES], add_generation_prompt=True) == ["USER: hello\nASSISTANT:"]
    assert tokenizer.get_vocab() == load_tokenizer(tiny_model_dir).get_vocab()
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tiny_model_dir / name).read_bytes()
    tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").chat_template == TEMPLATE


def test_it_is_made_once_for_each_template(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = with_chat_template(tiny_model_dir, TEMPLATE, tmp_path)
    made = (folder / MANIFEST).stat().st_mtime_ns
    assert with_chat_template(tiny_model_dir, TEMPLATE, tmp_path) == folder
    assert (folder / MANIFEST).stat().st_mtime_ns == made
    assert with_chat_template(tiny_model_dir, TEMPLATE + " ", tmp_path) != folder
    assert with_chat_template(tiny_model_dir, None, tmp_path) == tiny_model_dir


def test_a_cached_base_model_keeps_its_own_manifest(tiny_model_dir: Path, tmp_path: Path) -> None:
    base = with_added_tokens(tiny_model_dir, ["<ticket>"], tmp_path)
    manifest = (base / MANIFEST).read_bytes()
    folder = with_chat_template(base, TEMPLATE, tmp_path)
    assert (base / MANIFEST).read_bytes() == manifest != (folder / MANIFEST).read_bytes()
    assert len(load_tokenizer(folder)) == len(load_tokenizer(base))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("template.jinja", "is a path, and the file is where the job was written"),
        ("{% if %}", "is no Jinja template: line 1"),
    ],
)
def test_what_is_no_template_is_refused(tiny_model_dir: Path, tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        with_chat_template(tiny_model_dir, template, tmp_path)


def test_every_stage_of_a_job_gets_it(tiny_model_dir: Path, tmp_path: Path) -> None:
    document = {"name": "a", "base_model": str(tiny_model_dir), "data": {"path": "x", "chat_template": TEMPLATE}}
    spec = JobSpec.model_validate_json(json.dumps(document))
    settings = WorkerSettings.model_validate({"data_roots": "/", "model_cache": str(tmp_path)})
    assert load_tokenizer(resolve_base_of(spec, settings)).chat_template == TEMPLATE
    assert spec.has_own_tokenizer
