"""The `peft` format: the adapter as plain PEFT loads it, free of the paths of the machine that trained it."""

import json
import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerBase

_FILES = ("adapter_config.json", "adapter_model.safetensors")


def write_peft(adapter: Path, out: Path, base_model: str, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
    """Copies the adapter to the new folder `out`.

    Args:
        adapter: `adapter/` of the train stage.
        out: made here.
        base_model: how others find the base model; takes the place of our cache's path in the adapter's config.
        tokenizer: of a model that got further tokens or another chat template; saved beside the adapter.

    The adapters that a mixture is made of lie in folders of the adapter, and so they do in `out`.
    """
    out.mkdir()
    for name in _FILES:
        shutil.copyfile(adapter / name, out / name)
    if tokenizer is not None:
        tokenizer.save_pretrained(out)
    config = json.loads((out / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base_model
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for expert in sorted(path.parent for path in adapter.glob("*/adapter_config.json")):
        write_peft(expert, out / expert.name, base_model)
