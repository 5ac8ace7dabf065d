"""What is wrong between a job file and its model is said before anything is loaded: field, reason and remedy."""

from typing import Any

import pytest

from luthier.planning.admission import check_fit
from luthier.planning.configs import find_config
from luthier.planning.hardware import load_hardware
from luthier.planning.suitability import UnsuitableError, check_suits
from luthier.spec import JobSpec

SMOL = find_config("smollm2-135m-instruct", None)
"""30 blocks of width 576, keys of width 192, context 8192."""


def _job(method: dict[str, Any] | None = None) -> JobSpec:
    sections = {} if method is None else {"method": method}
    return JobSpec.model_validate({"name": "job", "base_model": "smol", "data": {"path": "/x"}, **sections})


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ({"type": "lora", "target_modules": ["q_prj"]}, "target_modules 'q_prj' .* q_proj, .*did you mean 'q_proj'?"),
        ({"type": "lora", "target_modules": ["q_proj", "zzz"]}, "target_modules 'zzz' fits no linear layer .*some of"),
        ({"type": "oft", "target_modules": "layers.0.*"}, r"target_modules 'layers\.0\.\*' fits no linear layer"),
        ({"type": "ia3", "target_modules": ["k"]}, "target_modules 'k' fits no linear layer"),
        ({"type": "lora", "r": 193}, r"method\.r 193 is above the size of .*k_proj, .*192 x 576; set method\.r to 192"),
        ({"type": "qlora", "r": 577, "target_modules": ["q_proj"]}, r"method\.r 577 is above .* to 576 or less"),
        ({"type": "adalora", "init_r": 200}, r"method\.init_r 200 is above .*set method\.init_r to 192 or less"),
        ({"type": "spiel", "r": 200}, r"method\.r 200 asks for more changed weights than .* set method\.r to 144"),
        ({"type": "oft", "oft_block_size": 7}, r"oft_block_size 7 does not divide the 576 inputs of .*; take another"),
        ({"type": "freeze", "num_trainable_layers": 31}, "num_trainable_layers is 31, .* 30 blocks; lower it"),
        ({"type": "bottleneck", "bottleneck_size": 576}, "bottleneck_size 576 .* width is 576; lower it"),
        ({"type": "prompt_tuning", "num_virtual_tokens": 1024}, "num_virtual_tokens 1024 leaves no room .* lower it"),
    ],
)
def test_a_method_that_the_model_has_no_place_for(method: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsuitableError, match=words):
        check_suits(_job(method), {**SMOL, "max_position_embeddings": 1024})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            "has an encoder, .*give another",
        ),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, r"'smol' \(BertForMaskedLM\) has an encoder"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantised already \(gptq\).*with method\.type: qlora"),
    ],
)
@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "full"])
def test_a_model_that_no_method_fits(changes: dict[str, Any], words: str, method: str) -> None:
    with pytest.raises(UnsuitableError, match=words):
        check_suits(_job({"type": method}), {**SMOL, **changes})


def test_rows_longer_than_the_context() -> None:
    check_suits(_job(), SMOL, longest=8192)
    with pytest.raises(
        UnsuitableError, match=r"9000 tokens, more than .*\(8192\); set data\.max_length to 8192 or less"
    ):
        check_suits(_job(), SMOL, longest=9000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"model_type": "gptj"},
            r"\(model_type 'gptj'\) computes its attention in a way of its own, .*; give a base_model",
        ),
        ({"model_type": "mamba"}, r"'mamba'\) has layers other than attention, through which the rows .*; give a base"),
        (
            {"model_type": "x", "text_config": {"layer_types": ["full_attention", "conv"]}},
            r"attention \(conv\), through",
        ),
        ({"layer_types": ["linear_attention", "full_attention"]}, r"layers other than attention \(linear_attention\)"),
        ({"model_type": "gemma2"}, "attends with soft-capped scores, which the training does not know; give a base"),
        ({"model_type": "gpt_oss"}, "attends with attention sinks"),
    ],
)
def test_a_model_whose_rows_could_not_be_kept_apart(changes, words):
    with pytest.raises(UnsuitableError, match=words):
        check_suits(_job(), {**SMOL, **changes})
    grpo = {"objective": {"type": "grpo", "rewards": [{"type": "exact_match"}]}}
    check_suits(JobSpec.model_validate({**_job().model_dump(exclude_defaults=True), **grpo}), {**SMOL, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gemma2", "attn_logit_softcapping": None},
        {"layer_types": ["full_attention", "sliding_attention", "chunked_attention"]},
        {"model_type": "qwen2", "sliding_window": 4096},
        {"model_type": "gemma3_text", "sliding_window": 4096, "layer_types": ["full_attention"]},
    ],
)
def test_one_whose_rows_are_kept_apart(changes):
    check_suits(_job(), {**SMOL, **changes}, longest=5000)


def test_rows_longer_than_the_window():
    config = {**SMOL, "model_type": "mistral", "sliding_window": 4096}
    check_suits(_job(), config, longest=4096)
    with pytest.raises(
        UnsuitableError, match=r"4097 tokens, and base_model looks back 4096 .*max_length to 4096 or less"
    ):
        check_suits(_job(), config, longest=4097)


def test_a_family_without_arithmetic_is_left_to_the_worker() -> None:
    check_suits(_job({"type": "lora", "target_modules": ["anything"]}), {"model_type": "unheard-of"})


def test_submitting_says_it_too() -> None:
    with pytest.raises(UnsuitableError, match=r"method\.r 193"):
        check_fit(_job({"type": "lora", "r": 193}), SMOL, [], load_hardware())
