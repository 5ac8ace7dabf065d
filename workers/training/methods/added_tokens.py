"""Which rows of the embeddings belong to tokens that the job added. `resolve_base_model` has made the rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.models import load_tokenizer


def token_rows(model: Any, tokens: Sequence[str]) -> dict[str, list[int]] | None:
    """For PEFT, the rows of `tokens` in the embeddings, and in an output layer that is not tied to them; None if none.

    `model` is a PreTrainedModel that was loaded from the folder that its config names.
    """
    if not tokens:
        return None
    rows = load_tokenizer(Path(model.config.name_or_path)).convert_tokens_to_ids(list(tokens))
    assert isinstance(rows, list)
    layers = [
        model.get_input_embeddings(),
        *([] if model.config.tie_word_embeddings else [model.get_output_embeddings()]),
    ]
    return {name: rows for name, part in model.named_modules() if any(part is layer for layer in layers)}
