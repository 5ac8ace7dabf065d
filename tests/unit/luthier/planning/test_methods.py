"""What the plan says is trained is what the method trains."""

import pytest
from pydantic import TypeAdapter

from luthier.errors import InvalidRequestError
from luthier.planning.methods import UnknownMethodError, adapt, read_expert
from luthier.planning.shape import read_shape
from luthier.spec import MethodSpec
from tests.unit.luthier.planning.test_shape import LLAMA_8B
from tests.unit.workers.training.methods.rows import LAYERS, LINEAR, NARROW, ROWS, UNITS, VOCABULARY, WIDTH

TINY = read_shape(
    {
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": UNITS, "num_hidden_layers": LAYERS,
        "num_attention_heads": 4, "num_key_value_heads": 4 * NARROW // WIDTH, "vocab_size": VOCABULARY,
        "max_position_embeddings": 512,
    }
)  # fmt: skip


EXPERTS = {
    "expert-0": read_expert({"r": 4, "target_modules": list(LINEAR)}),
    "expert-1": read_expert({"r": 3, "target_modules": ["q_proj", "up_proj"]}),
}
"""Those of the method matrix."""


def _section(**fields: object) -> MethodSpec:
    return TypeAdapter(MethodSpec).validate_python(fields)


@pytest.mark.parametrize("name", ROWS)
def test_the_number_of_trained_parameters_is_that_of_the_method_matrix(name: str) -> None:
    row = ROWS[name]
    section = _section(**row.section)
    experts = [EXPERTS[path] for path in section.experts] if section.type == "xlora" else []
    if section.type == "custom":
        with pytest.raises(UnknownMethodError, match="its function alone"):
            adapt(TINY, section)
        return
    adaptation = adapt(TINY, section, experts)
    tolerance = 0 if adaptation.is_exact else 0.15
    assert adaptation.num_trainable == pytest.approx(row.num_trained, rel=tolerance)


def test_an_8b_model_with_lora() -> None:
    shape = read_shape(LLAMA_8B)
    assert adapt(shape, _section(type="lora", r=16)).num_added == 41_943_040
    assert adapt(shape, _section(type="lora", r=8, target_modules=["q_proj", "v_proj"])).num_added == 3_407_872


def test_four_bits_take_a_quarter() -> None:
    shape = read_shape(LLAMA_8B)
    qlora = adapt(shape, _section(type="qlora"))
    assert qlora.num_frozen == 2 * 128256 * 4096 + (2 * 32 + 1) * 4096
    assert qlora.packed_bytes / (shape.num_parameters - qlora.num_frozen) * 8 == pytest.approx(4.127, abs=0.001)


def test_targets_that_are_not_there_are_named() -> None:
    with pytest.raises(InvalidRequestError, match="o_proj"):
        adapt(TINY, _section(type="lora", target_modules=["query"]))


def test_experts_that_are_not_here_are_not_guessed() -> None:
    with pytest.raises(UnknownMethodError, match="not on this machine"):
        adapt(TINY, _section(type="xlora", experts=["a", "b"]))


@pytest.mark.parametrize("config", [{"target_modules": ["q_proj"]}, {"r": 4, "target_modules": None}])
def test_an_expert_without_a_rank_or_layers_is_named(config: dict[str, object]) -> None:
    with pytest.raises(UnknownMethodError, match=r"adapter_config\.json"):
        read_expert(config)
