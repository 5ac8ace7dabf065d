"""Every family of causal models is trained right or refused: a row gives the same in a pack as alone, or is no part
of one. What is right is what transformers computes for the row alone, with its own attention."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from luthier.spec import LoraSpec, PrefixTuningSpec, PromptTuningSpec
from tests.unit.workers.training.tiny_run import Recorder, as_samples, make_engine
from workers.failures import ConfigError
from workers.training.attention import register
from workers.training.forward import target_losses
from workers.training.isolation import check_attends, check_keeps_apart
from workers.training.methods.base import load_base
from workers.training.methods.lora import add_lora
from workers.training.methods.prefix_tuning import add_prefix
from workers.training.methods.prompt_tuning import add_prompt
from workers.training.packing import make_batch

DEVICE = torch.device("cpu")
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = SIZES | {"num_key_value_heads": 2, "head_dim": 8}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = SIZES | {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}

TRAINED = {
    "llama": GROUPED,
    "gpt2": SIZES,
    "gpt_neox": SIZES,
    "gpt_bigcode": SIZES,
    "opt": SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "biogpt": SIZES,
    "phi": GROUPED,
    "phi3": GROUPED,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
    "qwen3_moe": GROUPED | EXPERTS,
    "mixtral": GROUPED | EXPERTS,
    "mistral": GROUPED | {"sliding_window": 32},
    "gemma": GROUPED,
    "gemma2": GROUPED | {"sliding_window": 32, "attn_logit_softcapping": None},
    "gemma3_text": GROUPED | {"sliding_window": 32},
    "olmo2": GROUPED,
    "cohere": GROUPED,
    "deepseek_v2": LATENT | {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "minicpm3": LATENT,
}
"""What is like those of real models of the family, only smaller."""

REFUSED = {
    "gpt_neo": {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global"], 2]],
    },
    "gptj": {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "codegen": {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "bloom": {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mpt": {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4},
    "falcon": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "mamba": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
}
"""Attention of their own, or none."""


def _model(kind: str, sizes: dict[str, object]) -> PreTrainedModel:
    """With weights so large that what a token sees shows in what it gives."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes), dtype=torch.float32).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.5 * weight.shape[-1] ** -0.5 + 0.05)
    return model


def _document(length: int, shared: int = 0) -> SimpleNamespace:
    ids = np.random.default_rng(length).integers(3, 64, length).astype(np.int32)
    ids[:shared] = np.arange(3, 3 + shared)
    return SimpleNamespace(input_ids=ids, trainable=np.arange(length) >= shared)


@pytest.mark.parametrize("kind", TRAINED)
@torch.no_grad()
def test_a_row_gives_the_same_in_a_pack_as_alone(kind):
    model = _model(kind, TRAINED[kind])
    for shared in (0, 9):
        documents = [_document(length + shared, shared) for length in (13, 5, 9, 3)]
        model.set_attn_implementation("eager")
        alone = []
        for document in documents:
            ids = torch.from_numpy(document.input_ids.astype(np.int64))
            log_probs = model(input_ids=ids[None], use_cache=False).logits[0, :-1].log_softmax(-1)
            alone.append(-log_probs.gather(1, ids[1:, None])[document.trainable[1:], 0])
        model.set_attn_implementation(register())
        batch = make_batch(documents, shared)
        packed = target_losses(model, batch, torch.float32)
        for number, expected in enumerate(alone):
            torch.testing.assert_close(packed[batch.owners == number], expected, atol=2e-5, rtol=1e-4)
    check_attends(model)
    check_keeps_apart(model, torch.float32, DEVICE)


@pytest.mark.parametrize("kind", REFUSED)
def test_a_family_that_computes_attention_by_itself_is_refused(kind, tmp_path):
    _model(kind, REFUSED[kind]).save_pretrained(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"base_model \(model_type '{kind}'\) has no attention, .*give a base_model of"
    ):
        check_attends(load_base(tmp_path, torch.float32, DEVICE))


def _mixing(model: PreTrainedModel) -> None:
    """As a layer of a recurrent network in front of the attention."""
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_hook(lambda _, __, hidden: 0.5 * (hidden + hidden.roll(1, dims=1)))


def _counting(model: PreTrainedModel) -> None:
    """As a model that adds a vector for each place of the row, whatever positions it is given."""
    places = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    model.get_input_embeddings().register_forward_hook(lambda _, __, hidden: hidden + places[: hidden.shape[1]])


@pytest.mark.parametrize("spoil", [_mixing, _counting])
@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_a_model_that_does_not_keep_rows_apart_is_refused_before_the_first_step(spoil, compute, tmp_path):
    model = _model("llama", GROUPED)
    model.set_attn_implementation(register())
    adapted = add_lora(model, LoraSpec(r=4))
    adapted.train()
    check_keeps_apart(adapted, compute, DEVICE)
    assert adapted.training
    spoil(model)
    with pytest.raises(
        ConfigError, match=r"model_type 'llama'\) does not keep the rows of a pass apart: .*give a base"
    ):
        make_engine(tmp_path, Recorder(), model=adapted, compute=compute, train=as_samples([_document(9)]))


def test_a_layer_beside_the_attention_shows_too():
    sizes = GROUPED | EXPERTS | {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False}
    model = _model("jamba", sizes)
    model.set_attn_implementation(register())
    check_attends(model)
    with pytest.raises(ConfigError, match=r"'jamba'\) does not keep the rows of a pass apart"):
        check_keeps_apart(model, torch.float32, DEVICE)


@pytest.mark.parametrize(
    ("kind", "sizes", "words"),
    [
        ("bert-generation", SIZES, "a look at later tokens"),
        ("stablelm", GROUPED, "a mask of its own"),
        ("gemma2", GROUPED | {"sliding_window": 32}, "soft-capped scores"),
        ("gpt_oss", GROUPED | EXPERTS | {"sliding_window": 32}, "attention sinks"),
    ],
)
def test_attention_that_no_kernel_computes_is_refused(kind, sizes, words):
    model = _model(kind, sizes)
    model.set_attn_implementation(register())
    with pytest.raises(ConfigError, match=f"base_model attends with {words}, which the training does not know; use an"):
        check_keeps_apart(model, torch.float32, DEVICE)


@pytest.mark.parametrize("variant", [{"use_dora": True}, {"init_lora_weights": "pissa"}])
def test_a_variant_of_lora_that_peft_does_not_know_for_experts_is_refused_with_what_works(variant):
    sizes = TRAINED["qwen3_moe"]
    with pytest.raises(ConfigError, match=r"PEFT cannot put .*'qwen3_moe'\): .*; take plain method\.type: lora"):
        add_lora(_model("qwen3_moe", sizes), LoraSpec(r=4, **variant))
    add_lora(_model("qwen3_moe", sizes), LoraSpec(r=4))
    add_lora(_model("qwen3_moe", sizes), LoraSpec(r=4, target_modules=["q_proj", "o_proj"], **variant))


def test_a_prefix_of_latent_attention_is_refused_and_a_prompt_is_not():
    model = _model("minicpm3", TRAINED["minicpm3"])
    with pytest.raises(
        ConfigError, match=r"'minicpm3'\) has latent attention, .*; take method\.type: prompt_tuning or"
    ):
        add_prefix(model, PrefixTuningSpec(type="prefix_tuning", num_virtual_tokens=4))
    add_prompt(model, PromptTuningSpec(type="prompt_tuning", num_virtual_tokens=4))
