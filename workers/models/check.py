"""What a folder must and must not contain to be a base model: no code of others runs, no pickle is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from luthier.planning.suitability import reason_against
from workers.failures import ConfigError

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_JSON_WITH_CODE = ("config.json", "tokenizer_config.json", "processor_config.json")


def check_model_folder(folder: Path, name: str) -> None:
    """Refuses a folder that is not a complete, harmless model; `name` is how the job file calls it.

    Raises:
        ConfigError: something is missing, the weights are pickles or quantised, the model brings code of its own or is
            no causal language model.
    """
    check_harmless(folder, f"base_model {name!r}")
    _check_kind(_read_json(folder / "config.json", f"base_model {name!r}"), name)


def check_harmless(folder: Path, what: str) -> None:
    """Refuses a folder that is not a complete model with tokenizer, or would run code; `what` begins the message.

    Raises:
        ConfigError: something is missing, the weights are pickles, or the model brings code of its own.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{what} has no config.json; give a folder as `save_pretrained` writes it")
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ConfigError(
            f"{what} has no tokenizer (none of {', '.join(_TOKENIZER_FILES)}); save the tokenizer into the same folder"
        )
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
        if pickles:
            raise ConfigError(
                f"{what} has pickle weights only ({pickles[0]}), which can run code when they are "
                f"read; convert them once with `model.save_pretrained(folder)` (safetensors)"
            )
        raise ConfigError(f"{what} has no *.safetensors weights; put them into the same folder")
    index = _read_json(folder / "model.safetensors.index.json", what)
    missing = sorted({file for file in index.get("weight_map", {}).values() if not (folder / file).is_file()})
    if missing:
        raise ConfigError(f"{what} lacks {missing[0]}, which its index names; complete the folder")
    for file in _JSON_WITH_CODE:
        if "auto_map" in _read_json(folder / file, what):
            raise ConfigError(
                f"{what} needs code of its own (`auto_map` in {file}, trust_remote_code), which is "
                f"never run here; choose a model whose architecture is part of transformers"
            )


def _check_kind(config: Mapping[str, Any], name: str) -> None:
    """What transformers would load as a causal language model although it is none, or would fail to load."""
    reason = reason_against(config)
    if reason is not None:
        raise ConfigError(f"base_model {name!r} {reason}")
    kind = config.get("model_type")
    is_encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder")
    if is_encoder or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(
            f"base_model {name!r} (model_type {kind!r}) is no causal language model that transformers knows, which "
            f"every method and objective here needs; give another base_model"
        )


def _read_json(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{what}: {path.name} is not JSON ({error}); restore the file") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{what}: {path.name} is not a JSON object; restore the file")
    return document
