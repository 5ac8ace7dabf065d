"""Which models can teach by their answers. The student never sees their token ids, so any vocabulary will do."""

from pathlib import Path

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from workers.failures import ConfigError
from workers.models.load import load_tokenizer


def check_teacher(base: Path, folder: Path, name: str) -> None:
    """
    Args:
        base: folder of the base model.
        folder: of the model that it is to learn from.
        name: how the job file calls that one.

    Raises:
        ConfigError: it writes no answers, or only those that the student knows already.
    """
    if folder.samefile(base):
        raise ConfigError(
            f"objective.teacher {name!r} is base_model itself, which has nothing to learn from its own answers; name "
            "another model"
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    writers = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    if not writers.intersection(config.architectures or []):
        found = ", ".join(config.architectures or []) or "no architecture"
        raise ConfigError(
            f"objective.teacher {name!r} writes no text ({found}): a model with a head of classes cannot answer; "
            "name a causal language model"
        )
    if not load_tokenizer(folder).chat_template:
        raise ConfigError(
            f"objective.teacher {name!r} has no chat template, so it cannot be asked; use an instruct model, or add a "
            "chat_template.jinja to its folder"
        )


def context_of(folder: Path) -> int | None:
    """Longest text in tokens that the model in `folder` was made for; None: any."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    length: int = getattr(config.get_text_config(), "max_position_embeddings", None) or 0
    return length if length > 0 else None  # 0 and -1: positions have no end
