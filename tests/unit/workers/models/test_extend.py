"""A base model with further tokens is a plain model folder, the same one everywhere."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workers.failures import ConfigError
from workers.models.extend import with_added_tokens

TOKENS = ["<ticket>", "<urgent>"]


def test_new_tokens_are_single_ids_and_start_at_the_mean(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = with_added_tokens(tiny_model_dir, TOKENS, tmp_path)
    before, after = AutoTokenizer.from_pretrained(tiny_model_dir), AutoTokenizer.from_pretrained(folder)
    ids = after.encode("hello<ticket>world<urgent>", add_special_tokens=False)
    assert [token for token in ids if token >= len(before)] == [len(before), len(before) + 1]
    assert after.decode(ids) == "hello<ticket>world<urgent>"
    assert after.chat_template == before.chat_template
    old = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="auto").get_input_embeddings().weight
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    new = model.get_input_embeddings().weight
    assert new.dtype == old.dtype == torch.bfloat16
    assert new.shape == (len(before) + 2, 32)
    assert torch.equal(new[: len(before)], old)
    assert torch.equal(new[-2:], old.double().mean(0).bfloat16().expand(2, -1))
    assert model.lm_head.weight is new, "still tied"
    assert model.config.vocab_size == len(before) + 2


def test_it_is_made_once_for_each_set_of_tokens(tiny_model_dir: Path, tmp_path: Path) -> None:
    folder = with_added_tokens(tiny_model_dir, TOKENS, tmp_path)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert with_added_tokens(tiny_model_dir, TOKENS, tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert with_added_tokens(tiny_model_dir, TOKENS[:1], tmp_path) != folder
    assert with_added_tokens(tiny_model_dir, [], tmp_path) == tiny_model_dir


def test_a_token_that_is_known_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"added_tokens has '<\|im_end\|>', which the tokenizer of base_model knows"):
        with_added_tokens(tiny_model_dir, [*TOKENS, "<|im_end|>"], tmp_path)
