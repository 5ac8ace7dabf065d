"""A base model with further tokens: made once as a folder of its own, so that every stage that asks for the base model,
from tokenising to export, gets the same vocabulary without knowing of it.

The new rows of the embeddings, and of an output layer that is not tied to them, start at the mean of the old ones
(Hewitt, 2021, "Initializing New Word Embeddings for Pretrained Language Models"): a new token is then neither likelier
nor less likely than an average one. The mean is taken in fp64, so that every worker makes the same model.
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from workers.failures import ConfigError
from workers.models.derived import derived
from workers.models.load import load_model, load_tokenizer, save_model, stored_dtype
from workers.models.wheel import SOURCE_FILE


def with_added_tokens(base: Path, tokens: Sequence[str], cache: Path) -> Path:
    """The folder of `base` with `tokens` in its vocabulary, which is made in `cache` if it is not there.

    Raises:
        ConfigError: the tokenizer has one of the tokens already.
    """
    if not tokens:
        return base
    return derived(base, cache, "extended", list(tokens), partial(_extend, base, tokens))


def _extend(base: Path, tokens: Sequence[str], into: Path) -> None:
    tokenizer = load_tokenizer(base)
    known = sorted(set(tokens) & tokenizer.get_vocab().keys())
    if known:
        raise ConfigError(
            f"method.added_tokens has {known[0]!r}, which the tokenizer of base_model knows; leave it out"
        )
    tokenizer.add_tokens(list(tokens))
    new: Any = tokenizer.convert_tokens_to_ids(list(tokens))
    dtype = stored_dtype(base)
    model: Any = load_model(base, dtype)
    old_rows = min(new)
    rows = max(len(tokenizer), model.get_input_embeddings().num_embeddings)  # some models have more than tokens
    model.resize_token_embeddings(rows, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            with torch.no_grad():
                layer.weight[new] = layer.weight[:old_rows].double().mean(0).to(dtype)
    save_model(model, tokenizer, into, dtype)
    if (base / SOURCE_FILE).is_file():
        shutil.copyfile(base / SOURCE_FILE, into / SOURCE_FILE)
