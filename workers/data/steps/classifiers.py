"""Classifiers of transformers out of a folder, for the steps that ask one: safetensors alone, no code of others.

They run on the CPU, because preprocessing never takes an accelerator's time.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from workers.failures import ConfigError
from workers.models.check import check_harmless


@dataclass(frozen=True)
class Classifier:
    """A model with its tokenizer, in evaluation mode."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    """By output of the model."""
    max_length: int
    """Tokens that it can read at a time."""


def load_classifier(folder: Path, key: str, auto_class: Any) -> Classifier:
    """The model in `folder`, which is what the job file has at `key`, loaded by a class of `transformers.AutoModel...`.

    Raises:
        ConfigError: the folder is missing, incomplete or could run code, or the model is of another kind.
    """
    what = f"{key} {str(folder)!r}"
    check_harmless(folder, what)
    try:
        model, loading = auto_class.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (ValueError, OSError, KeyError) as error:
        raise ConfigError(f"{what} cannot be loaded: {error}; give a model of another kind") from error
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])[0]
        raise ConfigError(f"{what} has no weights for {missing}, so it is no trained classifier; give another model")
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ConfigError(f"{what} has no tokenizer.json; save its fast tokenizer into the same folder")
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    # Some models count positions from behind the padding's, and so have one or two less than they say.
    max_length = min(int(positions) - 2, tokenizer.model_max_length)
    return Classifier(model, tokenizer, [model.config.id2label[n] for n in range(model.config.num_labels)], max_length)
