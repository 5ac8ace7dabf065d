"""Runs whose ranks read their part of the weights alone: what each rank does, and the models that they load."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from luthier.spec import ClassificationSpec, FullSpec, LoraSpec
from luthier.spec.distributed import DistributedSpec, FsdpSpec, ZeroSpec
from tests.unit.workers.training.tiny_run import ALONE, Recorder, as_samples, make_documents, make_engine, weights
from workers.models.inner import inner_model
from workers.training.distributed.strategies import make_strategy
from workers.training.distributed.world import World
from workers.training.heads import put_back, put_head
from workers.training.methods import METHODS
from workers.training.objectives import OBJECTIVES, Objective
from workers.training.samples import Sample

CPU = torch.device("cpu")
FULL, LORA = FullSpec(type="full"), LoraSpec(r=4)
_CLASSES = ("high", "low")
FSDP, ZERO = FsdpSpec(type="fsdp"), ZeroSpec(type="zero", stage=3)


@dataclass(frozen=True)
class Case:
    """One kind of run."""

    method: FullSpec | LoraSpec
    strategy: DistributedSpec
    compute: torch.dtype = torch.float32
    stored: str = "bf16"
    """In which dtype the model lies there."""
    has_head: bool = False
    """Whether it learns classes, by a head in place of the output layer."""


CASES = {
    "full, fsdp": Case(FULL, FSDP),
    "full, fsdp, offloaded": Case(FULL, FsdpSpec(type="fsdp", offload="cpu")),
    "full in bf16, fsdp": Case(FULL, FSDP, torch.bfloat16),
    "lora, fsdp": Case(LORA, FSDP),
    "lora in bf16, fsdp": Case(LORA, FSDP, torch.bfloat16, "fp32"),
    "full, zero 3": Case(FULL, ZERO),
    "full, zero 3, offloaded": Case(
        FULL, ZeroSpec(type="zero", stage=3, offload_optimizer="cpu", offload_param="cpu"), stored="fp32"
    ),
    "lora, zero 3": Case(LORA, ZERO),
    "full with a head, fsdp": Case(FULL, FSDP, has_head=True),
    "lora with a head, fsdp": Case(LORA, FSDP, has_head=True),
    "full with a head, zero 3": Case(FULL, ZERO, has_head=True),
}


def save_models(folder: Path, num_ranks: int) -> None:
    """`<stored>/whole`, and for each rank `<stored>/<strategy> <rank>`: 0 is what that rank has no need to read."""
    config = LlamaConfig(
        vocab_size=65,  # no multiple of two
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    for stored, dtype in {"bf16": torch.bfloat16, "fp32": torch.float32}.items():
        set_seed(3)
        whole = LlamaForCausalLM(config).to(dtype)
        whole.save_pretrained(folder / stored / "whole")
        model = LlamaForCausalLM(config).to(dtype)
        for rank in range(num_ranks):
            _copy_rows(whole, model, rank, num_ranks)
            model.save_pretrained(folder / stored / f"fsdp {rank}")
            _copy_rows(whole, model, 0 if rank == 0 else num_ranks, 1)
            model.save_pretrained(folder / stored / f"zero {rank}")


def _copy_rows(whole: LlamaForCausalLM, model: LlamaForCausalLM, part: int, num_parts: int) -> None:
    """Leaves that part of the rows of each weight, as torch.chunk cuts them, and 0 for the others."""
    with torch.no_grad():
        for source, target in zip(whole.parameters(), model.parameters(), strict=True):
            rows = -(-len(source) // num_parts)
            target.zero_()[rows * part : rows * (part + 1)] = source[rows * part : rows * (part + 1)]


def load(case: Case, folder: Path, *, late: bool) -> Any:
    """The model in `folder`, adapted; with `late` its weights are still there."""
    method = METHODS[case.method.type]
    loads = method.load_unread if late else method.load
    assert loads is not None
    set_seed(3)
    return method.adapt(loads(folder, case.compute, CPU, case.method), case.method)


def train(name: str, models: Path, scratch: Path, world: World = ALONE, *, late: bool = False) -> dict[str, Any]:
    """Rows of metrics and trained weights of a run in `scratch`, and what rank 0 has for an output layer then."""
    case = CASES[name]
    model = load(case, models / case.stored / (f"{case.strategy.type} {world.rank}" if late else "whole"), late=late)
    replaced = put_head(model, len(_CLASSES)) if case.has_head else None
    learned: dict[str, Any] = {}
    if replaced is not None:
        learned = {"objective": _classification(), "train": _rows(40), "validation": _rows(6)}
    engine, _ = make_engine(
        scratch,
        Recorder(),
        model=model,
        compute=case.compute,
        world=world,
        strategy=make_strategy(world, case.strategy) if world.size > 1 else None,
        max_steps=4,
        eval_steps=2,
        learning_rate=2e-3,
        gradient_accumulation_steps=2,
        **learned,
    )
    timed = ("tokens_per_second", "checkpoint_stall_seconds")
    rows = [{key: value for key, value in row.items() if key not in timed} for row in engine.run().history]
    trained = {key: value.flatten().tolist() for key, value in weights(model).items()}
    if replaced is not None and world.is_first:
        put_back(model, replaced)
    output = inner_model(model).get_output_embeddings().weight
    return {"rows": rows, "weights": trained, "output": output.flatten().tolist() if world.is_first else []}


def _classification() -> Objective:
    return OBJECTIVES["classification"](ClassificationSpec(type="classification"))


def _rows(num: int) -> list[Sample]:
    """Texts that begin with a number below or above the middle, and say so."""
    return [
        replace(one, label=_CLASSES[int(one.documents[0].input_ids[0] > 15)]) for one in as_samples(make_documents(num))
    ]


def train_all(folder: Path, world: World) -> None:
    """Every case on these ranks, with weights that were read before and with such that were not."""
    found = {
        name: {
            how: train(name, folder / "models", folder / f"{name}, {how}", world, late=how == "late")
            for how in ("early", "late")
        }
        for name in CASES
    }
    (folder / f"{world.rank}.json").write_text(json.dumps(found))


def divide_only(folder: Path, world: World) -> None:
    """Bytes of all tensors that FSDP makes of a model, of those that it keeps, and of the whole model."""
    case = CASES["full, fsdp"]
    model = load(case, folder / "models" / case.stored / "whole", late=True)
    num_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    with _Made() as made:
        make_strategy(world, case.strategy).divide(model, case.compute)
    kept = sum(parameter.to_local().nbytes for parameter in model.parameters() if isinstance(parameter, DTensor))
    (folder / f"{world.rank}.bytes").write_text(json.dumps([made.num_bytes, kept, num_bytes]))


class _Made(TorchDispatchMode):
    """Counts what operations take from the memory of the host; views and meta tensors take nothing."""

    num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        before = _addresses((args, kwargs))
        made = {address: size for address, size in _addresses(results).items() if address not in before}
        self.num_bytes += sum(made.values())
        return results


def _addresses(values: Any) -> dict[int, int]:
    """Where the memory of these tensors lies in the host's, and how large it is; of a divided one, this rank's part."""
    tensors = [one for one in tree_leaves(values) if isinstance(one, torch.Tensor)]
    parts = [one.to_local() if isinstance(one, DTensor) else one for one in tensors]
    storages = [one.untyped_storage() for one in parts if one.device == CPU]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
