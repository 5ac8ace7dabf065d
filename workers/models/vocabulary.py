"""Whether two models mean the same by a token id."""

from pathlib import Path

from workers.failures import ConfigError
from workers.models.load import load_tokenizer


def shared_vocabulary(base: Path, teacher: Path, name: str) -> int:
    """Number of token ids that the tokenizers in the two folders know, all of them alike.

    Args:
        base: folder of the base model, with the tokens that the job adds.
        teacher: folder of the model that it is to learn from.
        name: how the job file calls that one.

    Raises:
        ConfigError: the vocabularies differ.
    """
    ours, theirs = load_tokenizer(base).get_vocab(), load_tokenizer(teacher).get_vocab()
    different = min((token for token in {**ours, **theirs} if ours.get(token) != theirs.get(token)), default=None)
    if different is not None:
        places = [vocabulary.get(different, "not there") for vocabulary in (ours, theirs)]
        raise ConfigError(
            f"objective.teacher {name!r} has another vocabulary than base_model: the id of {different!r} is "
            f"{places[0]} in base_model and {places[1]} in the teacher, so their logits cannot be compared; use a "
            "teacher of the same family, or learn from its answers instead (objective.level: sequence)"
        )
    return max(ours.values()) + 1
