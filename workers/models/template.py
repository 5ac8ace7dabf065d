"""A base model with another chat template: its files as they are, and a tokenizer that has the template.

What is rendered for training, evaluation and parity, saved with the trained model and served, is then the same.
"""

import os
import shutil
from functools import partial
from pathlib import Path

from jinja2 import TemplateError, TemplateSyntaxError

from luthier.artifacts import MANIFEST
from luthier.spec.data.template import is_template
from workers.export.triton_backend.chat_template import compiled
from workers.export.triton_backend.template_work import TemplateLimitError
from workers.failures import ConfigError
from workers.models.derived import derived
from workers.models.load import load_tokenizer


def with_chat_template(base: Path, template: str | None, cache: Path) -> Path:
    """The folder of `base` with `template`, which is made in `cache` if it is not there; None: `base` itself.

    Raises:
        ConfigError: it is the path of a template, or no Jinja template.
    """
    if template is None:
        return base
    if not is_template(template):
        raise ConfigError(
            f"data.chat_template {template!r} is a path, and the file is where the job was written; give the text of "
            "the template, or submit the job file with the luthier command or the SDK, which put the text in its place"
        )
    try:
        compiled(template)
    except TemplateSyntaxError as error:
        raise ConfigError(f"data.chat_template is no Jinja template: line {error.lineno}: {error.message}") from error
    except (TemplateError, TemplateLimitError) as error:
        raise ConfigError(f"data.chat_template cannot be used: {error}") from error
    return derived(base, cache, "templated", template, partial(_build, base, template))


def _build(base: Path, template: str, into: Path) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(into)
    for file in base.iterdir():
        # The manifest is of the folder that it is in, and a link to it would be written over.
        if file.is_file() and file.name != MANIFEST and not (into / file.name).exists():
            _link_or_copy(file.resolve(), into / file.name)


def _link_or_copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where the disk does not allow links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
