"""What each method trains, what it leaves alone, and that the document attention does not care which it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from luthier.spec import FullSpec, LoraSpec
from tests.unit.workers.training.tiny_run import Recorder, make_documents, make_engine, make_model, same, weights
from workers.models import load_model
from workers.training.methods import METHODS
from workers.training.objectives.sft import summed_loss
from workers.training.optimizer import trainable_parameters
from workers.training.packing import make_batch

CPU = torch.device("cpu")
RANK = 4
# Of the linear layers of the tiny model in each of its two layers: q, k, v, o, gate, up, down.
SHAPES = [(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)]
VOCABULARY, HIDDEN, LAYERS = 64, 32, 2


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("lora", LAYERS * sum(RANK * (rows + columns) for rows, columns in SHAPES)),
        # Embeddings and output layer are two matrices here; two norms in each layer, and one at the end.
        (
            "full",
            2 * VOCABULARY * HIDDEN + LAYERS * (sum(rows * columns for rows, columns in SHAPES) + 2 * HIDDEN) + HIDDEN,
        ),
    ],
)
def test_the_number_of_trained_parameters_is_the_arithmetic_one(tmp_path: Path, method: str, expected: int) -> None:
    engine, _ = make_engine(tmp_path, Recorder(), model=make_model(method), max_steps=1)
    assert engine.run().num_trainable_parameters == expected


def test_tied_embeddings_are_one_parameter_under_one_name(tiny_model_dir: Path) -> None:
    method = METHODS["full"]
    model = method.adapt(method.load(tiny_model_dir, torch.bfloat16, CPU), FullSpec(type="full"))
    parameters = trainable_parameters(model)
    assert "model.embed_tokens.weight" in parameters
    assert "lm_head.weight" not in parameters
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}
    assert len(parameters) == len(list(model.parameters()))


@pytest.mark.parametrize("compute", [torch.bfloat16, torch.float32])
def test_lora_keeps_the_base_in_the_compute_dtype(tiny_model_dir: Path, compute: torch.dtype) -> None:
    method = METHODS["lora"]
    model = method.adapt(method.load(tiny_model_dir, compute, CPU), LoraSpec())
    assert {parameter.dtype for parameter in trainable_parameters(model).values()} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad} == {compute}


def test_lora_leaves_every_frozen_weight_as_it_was_to_the_bit(tmp_path: Path) -> None:
    model = make_model()
    before = _frozen(model)
    trained = weights(model)
    make_engine(tmp_path, Recorder(), model=model, max_steps=5)[0].run()
    assert same(_frozen(model), before)
    assert not same(weights(model), trained)


def test_full_fine_tuning_moves_every_weight(tmp_path: Path) -> None:
    model = make_model("full")
    before = weights(model)
    make_engine(tmp_path, Recorder(), model=model, max_steps=5)[0].run()
    assert [name for name, weight in weights(model).items() if torch.equal(weight, before[name])] == []


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prefix_length", [0, 9])
def test_packed_documents_cost_what_each_costs_alone_by_the_models_own_attention(
    tiny_model_dir: Path, prefix_length: int, compute: torch.dtype
) -> None:
    documents = make_documents(5)
    for document in documents:
        document.input_ids[: min(prefix_length, len(document.input_ids))] = 7
        document.trainable[:prefix_length] = False
    documents = [document for document in documents if len(document.input_ids) > prefix_length]
    expected = _loss_one_by_one(load_model(tiny_model_dir, torch.float32), documents)
    method = METHODS["full"]
    model = method.adapt(method.load(tiny_model_dir, compute, CPU), FullSpec(type="full"))
    loss = summed_loss(model, make_batch(documents, prefix_length), compute)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5 if compute == torch.float32 else 1e-2)
    assert {parameter.grad.dtype for parameter in model.parameters()} == {torch.float32}


def _loss_one_by_one(model: LlamaForCausalLM, documents: list[Any]) -> float:
    total = 0.0
    with torch.no_grad():
        for document in documents:
            ids = torch.from_numpy(document.input_ids.astype("int64"))[None]
            labels = ids.masked_fill(~torch.from_numpy(document.trainable)[None], -100)
            total += model(input_ids=ids, labels=labels).loss.item() * int(document.trainable[1:].sum())
    return total


def _frozen(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if not tensor.requires_grad}
