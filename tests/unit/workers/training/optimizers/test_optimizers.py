"""Every optimizer learns, goes on from its tensors to the same bits, and decays what it should."""

from typing import Any, get_args

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Trainer

from luthier.spec import TrainingSpec
from luthier.spec.training import OptimizerName
from tests.unit.workers.training.tiny_run import make_model
from workers.failures import ConfigError
from workers.training.optimizers import (
    OPTIMIZERS,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    trainable_parameters,
)

RATES = {"sgd": 0.01, "lamb": 0.02, "adafactor": 0.02}
ON_CPU = [name for name in OPTIMIZERS if name != "paged_adamw_8bit"]


def make_spec(name: str, **settings: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({"optim": name, "learning_rate": RATES.get(name, 0.003)} | settings)


def start_of_a_model() -> nn.Module:
    """A matrix large enough for 8-bit states, and small ones and biases that are not."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.GELU(), nn.Linear(96, 3))


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int, seed: int = 1) -> list[float]:
    inputs = torch.randn(32, 64, generator=torch.Generator().manual_seed(seed))
    targets = inputs[:, :3] * 2 - inputs[:, 3:6]
    losses = []
    for _ in range(num_steps):
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses


def test_every_name_of_the_job_file_has_a_row() -> None:
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", ON_CPU)
def test_it_learns(name: str) -> None:
    model = start_of_a_model()
    losses = learn(model, make_optimizer(trainable_parameters(model), make_spec(name)), 40)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("name", ON_CPU)
def test_it_goes_on_from_its_tensors_to_the_same_bits(name: str) -> None:
    spec = make_spec(name, weight_decay=0.1)
    first = start_of_a_model()
    optimizer = make_optimizer(trainable_parameters(first), spec)
    learn(first, optimizer, 5)
    second = start_of_a_model()
    second.load_state_dict(first.state_dict())
    resumed = make_optimizer(trainable_parameters(second), spec)
    state = optimizer_tensors(optimizer, trainable_parameters(first))
    assert all(torch.is_tensor(tensor) for tensor in state.values())
    load_optimizer_tensors(
        resumed, trainable_parameters(second), {key: tensor.clone() for key, tensor in state.items()}
    )
    assert learn(first, optimizer, 5, seed=2) == learn(second, resumed, 5, seed=2)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def test_8_bit_states_are_8_bit() -> None:
    model = start_of_a_model()
    optimizer = make_optimizer(trainable_parameters(model), make_spec("adamw_8bit"))
    learn(model, optimizer, 1)
    state = optimizer_tensors(optimizer, trainable_parameters(model))
    assert state["0.weight/state1"].dtype == state["0.weight/state2"].dtype == torch.uint8
    assert state["2.weight/state1"].dtype == torch.float32, "too small to be worth it"


def test_paged_states_need_an_accelerator() -> None:
    with pytest.raises(ConfigError, match=r"training\.optim.*needs a GPU.*adamw_8bit"):
        make_optimizer(trainable_parameters(start_of_a_model()), make_spec("paged_adamw_8bit"))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_decayed_weights_are_those_of_transformers(kind: str) -> None:
    model = (
        make_model("full")
        if kind == "llama"
        else GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=32))
    )
    parameters = trainable_parameters(model)
    groups = make_optimizer(parameters, make_spec("adamw", weight_decay=0.1)).param_groups
    decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    expected = {id(parameters[name]) for name in Trainer.get_decay_parameter_names(None, model) if name in parameters}
    assert decayed == expected
    assert decayed != {id(parameter) for parameter in parameters.values()}


def test_scales_of_an_adapter_do_not_decay() -> None:
    """They begin at what leaves the model as it is, which is not zero."""
    parameters = {
        "layer.lora_A.default.weight": nn.Parameter(torch.ones(4, 8)),
        "layer.ia3_l.default": nn.Parameter(torch.ones(8, 1)),
        "layer.lora_magnitude_vector.default.weight": nn.Parameter(torch.ones(8)),
    }
    groups = make_optimizer(parameters, make_spec("adamw", weight_decay=0.1)).param_groups
    assert [len(group["params"]) for group in groups if group["weight_decay"]] == [1]


@pytest.mark.parametrize("name", ON_CPU)
def test_rates_of_a_method_are_kept_apart(name: str) -> None:
    parameters = trainable_parameters(start_of_a_model())
    groups = make_optimizer(parameters, make_spec(name), {"2.weight": 16.0}).param_groups
    assert {group["rate_ratio"] for group in groups} == {1.0, 16.0}
    (fast,) = [group["params"] for group in groups if group["rate_ratio"] == 16.0]
    assert [id(parameter) for parameter in fast] == [id(parameters["2.weight"])]
