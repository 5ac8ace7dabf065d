"""The plan's bytes of a step are those of the tensors that are alive in a real one."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch.profiler import ProfilerActivity, profile
from transformers import LlamaConfig, LlamaForCausalLM

from luthier.planning.activations import activation_bytes, block_bytes, derived_bytes, passing_bytes
from luthier.planning.losses import LOSSES, kept_bytes, transient_bytes
from luthier.planning.methods import adapt
from luthier.planning.shape import read_shape
from luthier.planning.workload import Workload
from luthier.spec import JobSpec, MethodSpec, ObjectiveSpec, SftSpec
from tests.unit.workers.training.methods.rows import ROWS
from workers.data.row import DESIRABLE, UNDESIRABLE
from workers.training.attention import register
from workers.training.heads import put_head
from workers.training.kernels.choice import use_kernels
from workers.training.methods import METHODS
from workers.training.objectives import OBJECTIVES, Objective
from workers.training.objectives.distillation import Distillation
from workers.training.objectives.sft import Sft
from workers.training.objectives.teacher import Likely, Teacher
from workers.training.packing import Batch, batch_of
from workers.training.recompute import recompute_activations
from workers.training.samples import Sample

CONFIG = {
    "hidden_size": 96, "intermediate_size": 224, "num_hidden_layers": 8, "num_attention_heads": 6, "head_dim": 20,
    "num_key_value_heads": 2, "vocab_size": 1000, "tie_word_embeddings": True, "max_position_embeddings": 512,
}  # fmt: skip
SHAPE = read_shape({"model_type": "llama", **CONFIG})
JOB = JobSpec.model_validate({"name": "x", "base_model": "x", "data": {"path": "/x"}})
LENGTHS = (100, 100, 100, 90)
PADDED = 112
"""What attention pads each to."""
SECTIONS: dict[str, dict[str, Any]] = {
    "distillation": {"type": "distillation", "teacher": "x"},
    "sets of classes": {"type": "classification", "multi_label": True},
}
"""Objectives that more is said of than their type."""
PAIRED = ("dpo", "ipo", "orpo", "simpo", "reward")
BF16 = torch.bfloat16


@pytest.mark.parametrize("name", ["lora-dora", "adalora", "full"])
def test_of_a_method(name: str) -> None:
    section = dict(ROWS[name].section)
    model, batch = _model(section, BF16), _batch()
    actual = _peak(lambda: Sft(SftSpec()).measure(model, batch, BF16).loss.backward())
    assert _predicted(section, batch, BF16) == pytest.approx(actual, rel=0.05)


@pytest.mark.parametrize("name", ["sft", "dpo", "kto", "reward", "classification", "sets of classes", "distillation"])
def test_of_an_objective(name: str, tmp_path: Path) -> None:
    section = {"type": "lora", "r": 4}
    model, batch = _model(section, BF16), _batch(is_paired=name in PAIRED)
    objective = _objective(name, model, batch, BF16, tmp_path)
    actual = _peak(lambda: objective.measure(model, batch, BF16).loss.backward())
    assert _predicted(section, batch, BF16, SECTIONS.get(name, {"type": name})["type"]) == pytest.approx(
        actual, rel=0.05
    )


@pytest.mark.parametrize("section", [{"type": "lora", "r": 4}, {"type": "full"}], ids=["lora", "full"])
def test_with_activation_checkpointing(section: dict[str, Any]) -> None:
    model, batch = _model(section, BF16), _batch()
    recompute_activations(model, "full")
    actual = _peak(lambda: Sft(SftSpec()).measure(model, batch, BF16).loss.backward())
    assert _predicted(section, batch, BF16, recomputed=1.0) == pytest.approx(actual, rel=0.07)


def _model(section: dict[str, Any], compute: torch.dtype) -> Any:
    spec: MethodSpec = TypeAdapter(MethodSpec).validate_python(section)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG, attn_implementation=register()))
    adapted = METHODS[spec.type].adapt(model if spec.type == "full" else model.to(compute), spec).train()
    use_kernels(adapted, JOB, compute, torch.device("cpu"))
    return adapted


def _batch(*, is_paired: bool = False) -> Batch:
    rng = np.random.default_rng(0)
    documents = [
        SimpleNamespace(input_ids=rng.integers(0, 1000, length).astype(np.int32), trainable=np.arange(length) > 50)
        for length in LENGTHS
    ]
    groups = [documents[:2], documents[2:]] if is_paired else [[document] for document in documents]
    labels = [DESIRABLE, UNDESIRABLE] * 2
    return batch_of(
        [
            Sample(number, tuple(group), label=labels[number], labels=(labels[number],))
            for number, group in enumerate(groups)
        ]
    )


def _objective(name: str, model: Any, batch: Batch, compute: torch.dtype, folder: Path) -> Objective:
    """The objective, as ready to measure `batch` as a run has it."""
    spec: Any = TypeAdapter(ObjectiveSpec).validate_python(SECTIONS.get(name, {"type": name}))
    if name == "distillation":
        taught = Distillation(spec, Teacher(folder, CONFIG["vocab_size"]), folder)
        ids = torch.arange(spec.top_k).expand(batch.num_targets, -1)
        taught._lessons = SimpleNamespace(of=lambda _: Likely(ids, -6.0 - ids / 100, -torch.ones(batch.num_targets)))
        return taught
    objective = OBJECTIVES[spec.type](spec)
    objective.check(batch.samples, [])
    if spec.has_head:
        put_head(model, 2 if spec.type == "classification" else 1)
    objective.prepare(model, batch.samples, _again, compute)
    objective.begin(model, batch.samples, compute)
    return objective


def _again(samples: Sequence[Sample]) -> Iterator[Batch]:
    return iter([batch_of(samples)])


def _predicted(
    section: dict[str, Any], batch: Batch, compute: torch.dtype, objective: str = "sft", recomputed: float = 0.0
) -> float:
    work = Workload(
        row_tokens=sum(LENGTHS), num_targets=batch.num_targets, document_tokens=PADDED,
        padding=len(LENGTHS) * PADDED / sum(LENGTHS), accumulation=1, num_steps=None, num_tokens=None,
    )  # fmt: skip
    adaptation = adapt(SHAPE, TypeAdapter(MethodSpec).validate_python(section))
    size, loss = compute.itemsize, LOSSES[objective]
    kept = activation_bytes(SHAPE, adaptation, work, size, recomputed=recomputed) + derived_bytes(adaptation, size)
    passing = max(transient_bytes(loss, SHAPE, work), size * adaptation.num_transient)
    start = kept + kept_bytes(loss, SHAPE, work, size) + passing
    one = block_bytes(SHAPE, adaptation, work, size, on_cpu=True) if recomputed else 0.0
    return max(start, kept + one + passing_bytes(SHAPE, adaptation, work, size))


def _peak(step: Callable[[], object]) -> int:
    """Bytes of tensors that are alive at a time in `step`, at the most, beside those that were there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step()
    events = [event for event in watched.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())))
