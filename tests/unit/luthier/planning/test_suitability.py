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


def test_a_family_without_arithmetic_is_left_to_the_worker() -> None:
    check_suits(_job({"type": "lora", "target_modules": ["anything"]}), {"model_type": "unheard-of"})


def test_submitting_says_it_too() -> None:
    with pytest.raises(UnsuitableError, match=r"method\.r 193"):
        check_fit(_job({"type": "lora", "r": 193}), SMOL, [], load_hardware())
