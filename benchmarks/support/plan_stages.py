"""What a case of plan_cases.py is run on: its job file, its model, its dataset, and adapters that are to be mixed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model
from support.plan_cases import OBJECTIVES, SHAPES, SMALL, STEPS, Case
from support.stages import run_stage

from luthier.artifacts import ArtifactRef, publish
from luthier.settings import WorkerSettings
from luthier.spec import load_job_file
from workers.data.dataset import SplitName, write_split
from workers.data.row import DESIRABLE, UNDESIRABLE
from workers.models import load_tokenizer, resolve_base_model

_EXAMPLES = Path(__file__).parents[2] / "examples"
_EXPERT_RANKS = (8, 4)
_GRPO = {"packing": False, "per_device_train_batch_size": 8, "eval_steps": None}


def prepare(case: Case, folder: Path) -> tuple[dict[str, Any], ArtifactRef]:
    """The job file and the dataset of a case, in `folder`; a second time it does the same."""
    folder.mkdir(exist_ok=True)
    if case.example:
        return _prepare_example(case, folder)
    base = resolve_base_model(SMALL, WorkerSettings())
    model = base if case.model == SMALL else _random_model(case.model, base, folder / "model")
    data = publish(_write_documents(folder / "data", case), str(folder / "published"))
    method = case.method
    if "experts" in method:
        method = method | {"experts": _random_experts(model, folder)}
    objective = OBJECTIVES[case.objective] | ({"teacher": str(model)} if case.objective == "distillation" else {})
    return {
        "name": "case",
        "base_model": str(model),
        "data": {"path": "/unused", "max_length": case.longest + 10},
        "method": method,
        "objective": objective,
        "training": {**STEPS, **case.training, **(_GRPO if case.objective == "grpo" else {})},
        "resources": {"num_ranks": 2, "distributed": case.distributed} if case.distributed else {},
    }, data


def _prepare_example(case: Case, folder: Path) -> tuple[dict[str, Any], ArtifactRef]:
    """Its job file, with what the case says of the training, and its own data, preprocessed once."""
    spec = load_job_file(_EXAMPLES / case.example / "job.yaml").model_dump(mode="json")
    spec["training"] |= case.training
    kept = folder / "preprocessed.json"
    if not kept.exists():
        artifact = run_stage("preprocess", spec, folder / "preprocess").outputs.artifact
        kept.write_text(json.dumps([artifact.uri, artifact.digest, artifact.num_bytes]))
    return spec, ArtifactRef(*json.loads(kept.read_text()))


def _random_model(name: str, base: Path, folder: Path) -> Path:
    """A model with random weights, and the tokenizer of `base`."""
    width, inner, blocks, heads = SHAPES[name]
    tokenizer = load_tokenizer(base)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _random_experts(model: Path, folder: Path) -> list[str]:
    """Folders of LoRA adapters of the model, random ones: what does nothing cannot be mixed."""
    paths = []
    for number, rank in enumerate(_EXPERT_RANKS):
        base = transformers.AutoModelForCausalLM.from_pretrained(model, local_files_only=True, dtype=torch.bfloat16)
        config = LoraConfig(task_type="CAUSAL_LM", r=rank, target_modules="all-linear", init_lora_weights=False)
        paths.append(str(folder / f"expert-{number}"))
        get_peft_model(base, config).save_pretrained(paths[-1])
    return paths


def _write_documents(folder: Path, case: Case) -> Path:
    """A dataset artifact of random tokens; the second half of each document is the target, as in a chat."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    sizes: dict[SplitName, int] = {"train": 64, "validation": 4, "test": 0}
    for split, num_rows in sizes.items():
        rows = []
        for row in range(num_rows):
            ids, trainable = _random_document(rng, case)
            note: dict[str, Any] = {"row": row + 1, "source": "random", "input_ids": ids, "trainable": trainable}
            if case.objective in ("dpo", "orpo", "reward"):
                rejected_ids, rejected = _random_document(rng, case)
                note |= {"rejected_ids": rejected_ids, "rejected_trainable": rejected}
            if case.objective in ("kto", "classification"):
                note["label"] = (DESIRABLE, UNDESIRABLE)[row % 2]
            if case.objective == "grpo":
                note["messages"] = json.dumps(_random_chat(rng, case.longest))
            rows.append(note)
        write_split(folder, split, rows)
    return folder


def _random_document(rng: np.random.Generator, case: Case) -> tuple[Any, Any]:
    """Token ids, and which of them are targets."""
    number = int(rng.integers(case.longest // 5, case.longest + 1))
    shared = np.random.default_rng(1).integers(3, 49_000, case.num_shared)
    ids = np.append(shared, rng.integers(3, 49_000, number)).astype(np.int32)
    return ids, np.arange(len(ids)) >= case.num_shared + number // 2


def _random_chat(rng: np.random.Generator, longest: int) -> list[dict[str, str]]:
    """A question of about as many tokens as a document at its longest, and an answer."""
    words = " ".join(str(digit) for digit in rng.integers(0, 10, longest // 2))
    return [{"role": "user", "content": words}, {"role": "assistant", "content": "yes"}]
