"""The plan's bytes of activations are those that autograd keeps in a real forward pass."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from transformers import AutoConfig, AutoModelForCausalLM

from luthier.planning.activations import activation_bytes, derived_bytes
from luthier.planning.families import FAMILIES
from luthier.planning.losses import LOSSES, kept_bytes
from luthier.planning.methods import ADAPTATIONS, adapt
from luthier.planning.shape import read_shape
from luthier.planning.workload import Workload
from luthier.spec import JobSpec, MethodSpec, SftSpec
from tests.unit.workers.training.methods.rows import ROWS
from workers.training.attention import register
from workers.training.kernels.choice import use_kernels
from workers.training.methods import METHODS
from workers.training.objectives.sft import Sft
from workers.training.packing import Batch, batch_of
from workers.training.samples import Sample

CONFIG = {
    "model_type": "llama", "hidden_size": 96, "intermediate_size": 224, "num_hidden_layers": 6,
    "num_attention_heads": 6, "head_dim": 20, "num_key_value_heads": 2, "vocab_size": 1000,
    "tie_word_embeddings": True, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
LENGTHS = (100, 100, 100, 90)
PADDED = 112
"""What attention pads each to."""
JOB = JobSpec.model_validate({"name": "x", "base_model": "x", "data": {"path": "/x"}})
SECTIONS = {
    name: row.section
    for name, row in ROWS.items()
    # DoRA makes tensors for a backward pass that never comes (test_live.py). A text needs a tokenizer.
    if row.section["type"] in ADAPTATIONS and not row.section.get("use_dora") and "init_text" not in row.section
}


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", SECTIONS)
def test_what_a_forward_pass_keeps(name: str, compute: torch.dtype) -> None:
    # Weights in 4 bits make no difference here, and reading them back is slow.
    section: MethodSpec = TypeAdapter(MethodSpec).validate_python(
        SECTIONS[name] if name != "qlora" else ROWS["lora"].section
    )
    predicted, actual = _kept(section, compute)
    assert predicted == pytest.approx(actual, rel=0.04)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_what_it_keeps_of_documents_that_share_their_beginning(compute: torch.dtype) -> None:
    predicted, actual = _kept(TypeAdapter(MethodSpec).validate_python(SECTIONS["lora"]), compute, num_shared=40)
    assert predicted == pytest.approx(actual, rel=0.04)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("num_shared", [0, 40])
def test_what_it_keeps_of_answers_that_share_their_prompt(num_shared: int, compute: torch.dtype) -> None:
    section: MethodSpec = TypeAdapter(MethodSpec).validate_python(SECTIONS["lora"])
    predicted, actual = _kept(section, compute, num_shared=num_shared, num_prompt=49)
    assert predicted == pytest.approx(actual, rel=0.04)


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - {"gemma2"}))  # which is refused for its soft caps
@pytest.mark.parametrize("name", ["lora-gaussian", "full"])
def test_what_other_families_keep(name: str, family: str, compute: torch.dtype) -> None:
    predicted, actual = _kept(TypeAdapter(MethodSpec).validate_python(SECTIONS[name]), compute, family=family)
    assert predicted == pytest.approx(actual, rel=0.05)


def _kept(
    section: MethodSpec,
    compute: torch.dtype,
    *,
    num_shared: int = 0,
    num_prompt: int = 0,
    family: str = "llama",
) -> tuple[float, int]:
    """Bytes that a forward pass keeps: by the plan, and really."""
    config = CONFIG | {"model_type": family}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation=register())
    adapted = METHODS[section.type].adapt(model if section.type == "full" else model.to(compute), section).train()
    use_kernels(adapted, JOB, compute, torch.device("cpu"))
    METHODS[section.type].control(adapted, section, 10)  # sparse changes have their forward pass from it
    batch = _batch(num_shared, num_prompt)
    own = batch.input_ids.numel() - num_shared
    longest = PADDED - num_shared
    work = Workload(
        row_tokens=num_shared + own, num_targets=batch.num_targets, document_tokens=longest,
        padding=len(LENGTHS) * longest / own, accumulation=1, num_steps=None, num_tokens=None, num_shared=num_shared,
    )  # fmt: skip
    shape = read_shape(config)
    adaptation = adapt(shape, section)
    size = compute.itemsize
    predicted = (
        activation_bytes(shape, adaptation, work, size)
        + derived_bytes(adaptation, size)
        + kept_bytes(LOSSES["sft"], shape, work, size)
    )
    return predicted, _kept_bytes(adapted, batch, compute)


def _batch(num_shared: int, num_prompt: int) -> Batch:
    """Documents one by one, or two by two that begin with `num_prompt` tokens."""
    rng = np.random.default_rng(0)
    documents = [
        SimpleNamespace(
            input_ids=np.append(np.arange(num_shared), rng.integers(0, 1000, length - num_shared)).astype(np.int32),
            trainable=np.arange(length) > 50,
        )
        for length in LENGTHS
    ]
    if not num_prompt:
        return batch_of([Sample(number, (document,)) for number, document in enumerate(documents)], num_shared)
    for better, worse in (documents[:2], documents[2:]):
        worse.input_ids[:num_prompt] = better.input_ids[:num_prompt]
    return batch_of([Sample(0, tuple(documents[:2])), Sample(1, tuple(documents[2:]))], num_shared)


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
