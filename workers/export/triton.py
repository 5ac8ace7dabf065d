"""Writes a Triton model repository: the served code, its configuration, and the merged weights.

<out>/<name>/config.pbtxt
<out>/<name>/1/*.py                        copies of triton_backend/
<out>/<name>/1/tools.json                  what the chat template does with tools
<out>/<name>/1/weights/                    the merged model, as hard links where the disk allows
<out>/<name>/1/system_prompt.txt           what the model was trained with, if anything
"""

import os
import shutil
from pathlib import Path

from luthier.ids import check_id
from workers.export.tool_probe import find_tool_use
from workers.models import load_tokenizer

_BACKEND = Path(__file__).parent / "triton_backend"
_CODE = (
    *("model.py", "answering.py", "generation.py", "tool_calls.py", "tool_use.py"),
    *("chat_template.py", "template_bounds.py", "template_tree.py", "template_work.py"),
)

# KIND_AUTO: one instance per accelerator, or one on the CPU. Format: model_config.proto of Triton.
_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: 0
model_transaction_policy {{ decoupled: true }}
input [ {{ name: "REQUEST" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "CHUNK" data_type: TYPE_STRING dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_AUTO }} ]
parameters {{ key: "max_new_tokens" value: {{ string_value: "{max_new_tokens}" }} }}
"""


def write_repository(merged: Path, out: Path, name: str, max_new_tokens: int, system_prompt: str = "") -> Path:
    """Makes the model `name` in the repository `out` and returns its folder `out/name`.

    Args:
        merged: folder with config, tokenizer and safetensors; left as it is.
        out: the repository; made when missing.
        name: id of the model inside Triton.
        max_new_tokens: length of an answer when a request does not say.
        system_prompt: put before a conversation that has no system message, as in training; empty: nothing is.

    Raises:
        ValueError: `name` is not an id.
        FileExistsError: the repository has such a model already.
    """
    folder = out / check_id(name, "Triton model")
    version = folder / "1"
    version.mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG.format(name=name, max_new_tokens=max_new_tokens))
    for file in _CODE:
        shutil.copyfile(_BACKEND / file, version / file)
    find_tool_use(load_tokenizer(merged)).write(version / "tools.json")
    if system_prompt:
        (version / "system_prompt.txt").write_text(system_prompt, encoding="utf-8")
    shutil.copytree(merged, version / "weights", copy_function=link_or_copy)
    return folder


def link_or_copy(source: str, target: str) -> str:
    """Makes `target` a hard link to `source`, or a copy where the disk does not allow links. For `copytree`."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
