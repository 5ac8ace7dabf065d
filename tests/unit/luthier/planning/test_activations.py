"""The plan's bytes of activations are those that autograd keeps in a real forward pass."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers import LlamaConfig, LlamaForCausalLM

from luthier.planning.activations import activation_bytes, cast_bytes, loss_bytes
from luthier.planning.adaptation import adapt
from luthier.planning.shape import read_shape
from luthier.planning.workload import Workload
from luthier.spec import MethodSpec, SftSpec
from workers.training.attention import register
from workers.training.methods import METHODS
from workers.training.objectives.sft import Sft
from workers.training.packing import Batch, batch_of
from workers.training.samples import Sample

CONFIG = {
    "hidden_size": 96, "intermediate_size": 224, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 1000, "tie_word_embeddings": True, "max_position_embeddings": 512,
}  # fmt: skip
LENGTHS = (100, 100, 100, 90)
SECTIONS = {
    "lora": {"type": "lora", "r": 4},
    "lora-dropout": {"type": "lora", "r": 4, "lora_dropout": 0.1},
    "lora-some": {"type": "lora", "r": 4, "target_modules": ["q_proj", "v_proj"]},
    "full": {"type": "full"},
    "freeze": {"type": "freeze", "num_trainable_layers": 2},
}


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", SECTIONS)
def test_what_a_forward_pass_keeps(name: str, compute: torch.dtype) -> None:
    section: MethodSpec = TypeAdapter(MethodSpec).validate_python(SECTIONS[name])
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation=register()))
    adapted = METHODS[section.type].adapt(model if section.type == "full" else model.to(compute), section).train()
    batch = _batch()
    work = Workload(
        row_tokens=sum(LENGTHS), num_targets=batch.num_targets, document_tokens=max(LENGTHS),
        padding=len(LENGTHS) * max(LENGTHS) / sum(LENGTHS), accumulation=1, num_steps=None, num_tokens=None,
    )  # fmt: skip
    shape = read_shape({"model_type": "llama", **CONFIG})
    adaptation = adapt(shape, section)
    size = compute.itemsize
    predicted = activation_bytes(shape, adaptation, work, size) + cast_bytes(adaptation, size) + loss_bytes(shape, work)
    assert predicted == pytest.approx(_kept_bytes(adapted, batch, compute), rel=0.08)


def _batch() -> Batch:
    rng = np.random.default_rng(0)
    documents = [
        SimpleNamespace(input_ids=rng.integers(0, 1000, length).astype(np.int32), trainable=np.arange(length) > 50)
        for length in LENGTHS
    ]
    return batch_of([Sample(number, (document,)) for number, document in enumerate(documents)])


def _kept_bytes(model: torch.nn.Module, batch: Batch, compute: torch.dtype) -> int:
    """Of all tensors that the backward pass will read, without the model's own, each memory once."""
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        Sft(SftSpec()).measure(model, batch, compute)
    return sum(storage.nbytes() for storage in kept.values())
