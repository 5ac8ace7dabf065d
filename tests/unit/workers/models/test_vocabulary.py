"""A teacher has to mean the same by every token id."""

from pathlib import Path

import pytest

from workers.failures import ConfigError
from workers.models import load_tokenizer
from workers.models.vocabulary import shared_vocabulary


def test_models_of_one_family_share_their_vocabulary(tiny_model_dir: Path) -> None:
    assert (
        shared_vocabulary(tiny_model_dir, tiny_model_dir, "t")
        == max(load_tokenizer(tiny_model_dir).get_vocab().values()) + 1
    )


def test_a_token_that_one_of_them_does_not_know_is_named(tiny_model_dir: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_dir)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"'big' has another vocabulary.*id of '<new>' is not there in base_model"):
        shared_vocabulary(tiny_model_dir, tmp_path, "big")
