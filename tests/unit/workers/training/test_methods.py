"""How LoRA and full fine-tuning hold their weights, and that the document attention does not care which it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

from luthier.spec import FullSpec, LoraSpec
from tests.unit.workers.training.tiny_run import make_documents
from workers.models import load_model
from workers.training.methods import METHODS
from workers.training.objectives.sft import summed_loss
from workers.training.optimizers import trainable_parameters
from workers.training.packing import make_batch

CPU = torch.device("cpu")


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
