"""Layer freezing and half fine-tuning: what they choose, what stays, and what is saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from luthier.spec import MethodSpec
from tests.unit.workers.training.tiny_run import make_documents
from workers.failures import ConfigError
from workers.models import load_model, load_tokenizer
from workers.models.tuned import load_tuned
from workers.training.methods import METHODS
from workers.training.objectives.sft import summed_loss
from workers.training.packing import make_batch

CPU = torch.device("cpu")
# Of a block of the tiny model: q, k, v, o; gate, up, down; two norms.
ATTENTION, MLP, NORMS = [32 * 32, 16 * 32, 16 * 32, 32 * 32], [64 * 32, 64 * 32, 64 * 32], [32, 32]
BLOCK = sum(ATTENTION + MLP + NORMS)
BF16, FP32 = torch.bfloat16, torch.float32


def section(**method: Any) -> Any:
    return TypeAdapter(MethodSpec).validate_python(method)


def adapted(folder: Path, dtype: torch.dtype = FP32, **method: Any) -> Any:
    spec = section(**method)
    row = METHODS[spec.type]
    return row.adapt(row.load(folder, dtype, CPU, spec), spec)


def trained(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize(
    ("method", "expected", "with_embeddings"),
    [
        ({"num_trainable_layers": 1}, BLOCK, False),
        ({"num_trainable_layers": 2}, 2 * BLOCK, False),
        (
            {"num_trainable_layers": 0, "trainable_modules": ["q_proj", "layers.0.mlp"]},
            2 * ATTENTION[0] + sum(MLP),
            False,
        ),
        ({"num_trainable_layers": 1, "trainable_modules": r"model\.layers\.\d\.mlp\.up_proj"}, BLOCK + MLP[1], False),
        ({"num_trainable_layers": 1, "train_embeddings": True}, BLOCK, True),
        # The output layer has the weights of the embeddings.
        ({"num_trainable_layers": 0, "trainable_modules": ["lm_head"]}, 0, True),
    ],
)
def test_freezing_trains_the_blocks_and_modules_that_are_named(
    tiny_model_dir: Path, method: Mapping[str, Any], expected: int, with_embeddings: bool
) -> None:
    model = adapted(tiny_model_dir, type="freeze", **method)
    expected += model.get_input_embeddings().num_embeddings * 32 * with_embeddings
    assert sum(weight.numel() for weight in trained(model).values()) == expected


def test_half_fine_tuning_trains_half_of_every_kind_of_part() -> None:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4
    )
    spec = section(type="hft", seed=3)
    names = set(trained(METHODS["hft"].adapt(LlamaForCausalLM(config), spec)))
    of_block = [{name.split(".", 3)[3] for name in names if name.startswith(f"model.layers.{n}.")} for n in range(4)]
    assert [sum("self_attn" in name for name in block) for block in of_block] == [2, 2, 2, 2]
    assert [sum("norm" in name for name in block) for block in of_block] == [1, 1, 1, 1]
    assert sorted(sum("mlp" in name for name in block) for block in of_block) == [1, 1, 2, 2]
    assert len(names) == sum(map(len, of_block)), "nothing outside the blocks is trained"
    assert names == set(trained(METHODS["hft"].adapt(LlamaForCausalLM(config), spec)))
    assert names != set(trained(METHODS["hft"].adapt(LlamaForCausalLM(config), section(type="hft", seed=4))))


RUNS = {"freeze": {"type": "freeze", "num_trainable_layers": 1}, "hft": {"type": "hft"}}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_trained_weights_are_masters_and_the_saved_rest_is_the_base_to_the_bit(
    tiny_model_dir: Path, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    """The base is stored in fp32 here, so that a compute dtype of bf16 could lose something."""
    base = tmp_path / "base"
    LlamaForCausalLM(LlamaForCausalLM.config_class.from_pretrained(tiny_model_dir, dtype=FP32)).save_pretrained(base)
    load_tokenizer(tiny_model_dir).save_pretrained(base)
    before = dict(load_model(base, FP32).named_parameters())
    model = adapted(base, dtype, **RUNS[name])
    chosen = trained(model)
    assert all(weight.dtype == FP32 and torch.equal(weight, before[name]) for name, weight in chosen.items())
    assert {weight.dtype for weight in model.parameters() if not weight.requires_grad} == {dtype}
    optimizer = torch.optim.SGD(chosen.values(), lr=0.1)
    summed_loss(model, make_batch(make_documents(5)), dtype).backward()
    optimizer.step()
    METHODS[name].save(model, base, tmp_path / "out")
    after = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model").named_parameters())
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(chosen)
    assert all(torch.equal(after[name], chosen[name]) for name in chosen)
    ids = torch.tensor([[5, 6, 7]])
    tuned = load_tuned(base, tmp_path / "out", FP32)
    assert torch.equal(tuned.get_input_embeddings()(ids), load_model(base, FP32).get_input_embeddings()(ids))


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({"num_trainable_layers": 3}, "num_trainable_layers is 3, and base_model has 2 blocks"),
        ({"trainable_modules": ["q_proj", "qkv"]}, "'qkv' is not in this model; its modules are .*q_proj"),
        ({"trainable_modules": "q_proj"}, "'q_proj' is not in this model"),
    ],
)
def test_what_the_model_does_not_have_is_refused(tiny_model_dir: Path, method: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        adapted(tiny_model_dir, type="freeze", **method)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ({"num_trainable_layers": 0}, "everything is frozen"),
        ({"trainable_modules": "("}, "not a regular expression"),
    ],
)
def test_what_the_job_file_can_tell_is_refused_there(method: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        section(type="freeze", **method)
