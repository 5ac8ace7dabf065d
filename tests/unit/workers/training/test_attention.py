"""Models whose attention is not plain causal attention are trained right or refused, never as something else."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from workers.failures import ConfigError
from workers.training.attention import register
from workers.training.objectives.sft import summed_loss
from workers.training.packing import make_batch

WINDOW = 9
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": WINDOW,
}


def _document(length: int) -> SimpleNamespace:
    ids = np.random.default_rng(length).integers(3, 64, length).astype(np.int32)
    return SimpleNamespace(input_ids=ids, trainable=np.ones(length, bool))


def _loss(model: PreTrainedModel, *lengths: int) -> float:
    return summed_loss(model, make_batch([_document(length) for length in lengths]), torch.float32).item()


@pytest.fixture
def mistral() -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SIZES)).eval()


@torch.no_grad()
def test_documents_within_the_window_cost_what_the_models_own_attention_says(mistral: MistralForCausalLM) -> None:
    expected = 0.0
    for length in (WINDOW, 5):
        ids = torch.from_numpy(_document(length).input_ids.astype(np.int64))[None]
        expected += mistral(input_ids=ids, labels=ids).loss.item() * (length - 1)
    mistral.set_attn_implementation(register())
    assert _loss(mistral, WINDOW, 5) == pytest.approx(expected, rel=1e-4)


def test_a_document_longer_than_the_window_is_refused_with_the_remedy(mistral: MistralForCausalLM) -> None:
    mistral.set_attn_implementation(register())
    with pytest.raises(ConfigError, match=r"looks back 9 tokens, and a row has 10; set data\.max_length: 9"):
        _loss(mistral, WINDOW + 1, 5)


def test_soft_capped_scores_are_refused() -> None:
    model = Gemma2ForCausalLM(Gemma2Config(**SIZES)).eval()
    model.set_attn_implementation(register())
    with pytest.raises(ConfigError, match="soft-capped scores"):
        _loss(model, 5)


@pytest.mark.parametrize("length", [6, 300])
def test_attention_dropout_is_that_of_the_config_and_of_training_alone(length: int) -> None:
    torch.manual_seed(0)
    sizes = SIZES | {"sliding_window": None}
    model = MistralForCausalLM(MistralConfig(**sizes, attention_dropout=0.5)).eval()
    model.set_attn_implementation(register())
    quiet = _loss(model, length)
    assert _loss(model, length) == quiet
    model.train()
    torch.manual_seed(1)
    first, second = _loss(model, length), _loss(model, length)
    assert len({quiet, first, second}) == 3
    torch.manual_seed(1)
    assert _loss(model, length) == first
