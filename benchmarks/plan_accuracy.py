"""How near the plan is: predicted against actual peak memory of real training runners, one process each.

Every case is one `train` stage in a runner of its own (`python -m workers.runner`), on synthetic documents, with
validation and checkpoints, as a job has it. The peak is read from the kernel when the process has ended. Time is not
looked at: memory does not depend on what else the machine does, time does.

Four figures of the plan are measured and not derived (luthier/planning/memory.py): what a runner takes before its model
is touched, what oneDNN keeps, and the waste of the C library's allocator in bf16 and in fp32. They were set by the
cases that are marked as fitted; all other cases are held out.

With --results the peaks are kept in a file, and cases that are in it are not run again; predictions are always those of
the code as it is. A table on stderr, one JSON object on stdout; 1 when a prediction is further off than --tolerance.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from support.figures import table
from support.stages import run_stage

from luthier.artifacts import ArtifactRef, publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data.dataset import SplitName, load_split, write_split
from workers.data.row import DESIRABLE, UNDESIRABLE
from workers.models import load_tokenizer, resolve_base_model
from workers.training.forecast import forecast
from workers.training.rows import Rows

MIB = 1 << 20
STEPS = {"max_steps": 5, "eval_steps": 3, "save_steps": 3, "learning_rate": 1e-4}
"""In bf16 the kept products (luthier/settings.py) are all there after some steps, not after the first."""
SMALL = "smollm2-135m-instruct"
NARROW, TINY = "narrow", "tiny"
SHAPES = {NARROW: (384, 1024, 12, 6), TINY: (64, 160, 2, 4)}
"""Width, MLP, blocks and heads of models with random weights: quick, where SmolLM2 takes minutes."""


@dataclass(frozen=True)
class Case:
    """One run."""

    method: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    model: str = NARROW
    longest: int = 250
    """Tokens of the longest document; the shortest has a fifth of it."""
    objective: str = "sft"
    is_fitted: bool = False
    """Whether a figure of the plan was set by it."""


LORA, QLORA, FULL = {"type": "lora", "r": 8}, {"type": "qlora", "r": 8}, {"type": "full"}
BF16, FP32 = {"precision": "bf16"}, {"precision": "fp32"}
METHODS: dict[str, dict[str, Any]] = {
    "lora": LORA,
    "lora, some layers": LORA | {"target_modules": ["q_proj", "v_proj"]},
    "lora, dropout": LORA | {"lora_dropout": 0.1},
    "lora, dora": LORA | {"use_dora": True},
    "lora, pissa": LORA | {"init_lora_weights": "pissa"},
    "qlora": QLORA,
    "adalora": {"type": "adalora", "init_r": 12, "target_r": 8, "tinit": 1, "tfinal": 1},
    "ia3": {"type": "ia3"},
    "oft": {"type": "oft"},
    "bottleneck": {"type": "bottleneck"},
    "prompt_tuning": {"type": "prompt_tuning"},
    "prefix_tuning": {"type": "prefix_tuning"},
    "full": FULL,
    "freeze": {"type": "freeze", "num_trainable_layers": 4},
    "hft": {"type": "hft"},
}
OBJECTIVES = ("dpo", "kto", "orpo", "classification", "reward", "distillation")
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora bf16, checkpointing": (LORA, BF16 | {"gradient_checkpointing": "full"}),
    "lora fp32, checkpointing": (LORA, FP32 | {"gradient_checkpointing": "full"}),
    "full fp32, checkpointing": (FULL, FP32 | {"gradient_checkpointing": "full"}),
    "full bf16, half checkpointing": (FULL, BF16 | {"gradient_checkpointing": "selective"}),
    "full fp32, accumulation": (FULL, FP32 | {"gradient_accumulation_steps": 2}),
    "full fp32, adafactor": (FULL, FP32 | {"optim": "adafactor"}),
    "full fp32, 8 bits": (FULL, FP32 | {"optim": "adamw_8bit"}),
    "full fp32, sgd": (FULL, FP32 | {"optim": "sgd"}),
    "full fp32, lamb": (FULL, FP32 | {"optim": "lamb"}),
    "full fp32, average": (FULL, FP32 | {"ema_decay": 0.9}),
}
CASES = {
    "smollm2 lora bf16": Case(LORA, BF16, SMALL, is_fitted=True),
    "smollm2 lora fp32": Case(LORA, FP32, SMALL, is_fitted=True),
    **{f"narrow {name} bf16": Case(method, BF16, is_fitted=name == "lora") for name, method in METHODS.items()},
    **{
        f"narrow {name}": Case(method, training, is_fitted=name == "lora bf16, checkpointing")
        for name, (method, training) in SETTINGS.items()
    },
    **{f"narrow lora bf16, {name}": Case(LORA, BF16, objective=name) for name in OBJECTIVES},
    "smollm2 lora bf16, checkpointing": Case(LORA, BF16 | {"gradient_checkpointing": "full"}, SMALL),
    "smollm2 lora bf16, two rows at a time": Case(LORA, BF16 | {"per_device_train_batch_size": 2}, SMALL),
    "smollm2 lora bf16, long documents": Case(LORA, BF16, SMALL, longest=1000),
    "smollm2 qlora bf16": Case(QLORA, BF16, SMALL),
    "smollm2 full bf16": Case(FULL, BF16, SMALL),
    "tiny lora fp32": Case(LORA, FP32, TINY),
    "tiny full fp32": Case(FULL, FP32, TINY),
    "narrow lora fp32": Case(LORA, FP32),
    "narrow full fp32": Case(FULL, FP32),
    "narrow prefix_tuning fp32": Case(METHODS["prefix_tuning"], FP32),
    "narrow adalora fp32": Case(METHODS["adalora"], FP32),
    "narrow oft fp32": Case(METHODS["oft"], FP32),
    "smollm2 full fp32": Case(FULL, FP32, SMALL),
}


def main() -> int:
    """Runs the cases; 1 when one is off or fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the cases to run")
    parser.add_argument("--exact", default="", help="name of the one case to run")
    parser.add_argument("--predict", action="store_true", help="run nothing, print what the plans say")
    parser.add_argument("--results", type=Path, help="file of peaks: cases in it are not run again, others are added")
    parser.add_argument("--tolerance", type=float, default=0.15, help="largest deviation, as a part of the actual peak")
    arguments = parser.parse_args()
    known = read_results(arguments.results)
    rows = []
    with tempfile.TemporaryDirectory(prefix="plan-accuracy-") as scratch:
        for name, case in CASES.items():
            is_meant = name == arguments.exact if arguments.exact else arguments.only in name
            if not is_meant or (arguments.predict and known and name not in known):
                continue
            folder = Path(scratch) / str(len(rows))
            row: dict[str, Any] = {"case": name, "is_fitted": case.is_fitted, "predicted": predict(case, folder)}
            if name not in known and not arguments.predict:
                known[name] = run(case, folder)
                keep(arguments.results, name, known[name])
            if name in known:
                row |= {"actual": known[name], "deviation": round(row["predicted"] / known[name] - 1, 3)}
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    print(table(rows), file=sys.stderr)
    deviations = {row["case"]: abs(float(row["deviation"])) for row in rows if "deviation" in row}
    if not deviations:
        return 0
    held_out = [deviation for name, deviation in deviations.items() if not CASES[name].is_fitted]
    document = {
        "benchmark": "plan_accuracy",
        "cases": rows,
        "largest_deviation": max(deviations.values()),
        "largest_deviation_held_out": max(held_out, default=None),
        "median_deviation_held_out": round(statistics.median(held_out), 3) if held_out else None,
        "num_beyond_tolerance": sum(deviation > arguments.tolerance for deviation in deviations.values()),
        "tolerance": arguments.tolerance,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    print(json.dumps(document))
    return 0 if max(deviations.values()) <= arguments.tolerance else 1


def read_results(path: Path | None) -> dict[str, int]:
    """Peaks in MiB by case."""
    if path is None or not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return {line["case"]: line["actual"] for line in lines}


def keep(path: Path | None, name: str, actual: int) -> None:
    """Adds a peak to the file."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps({"case": name, "actual": actual}) + "\n")


def predict(case: Case, folder: Path) -> int:
    """What the plan says, in MiB. Prepares the case in `folder`."""
    spec, _ = prepare(case, folder)
    samples = Rows(load_split(folder / "published", "train", conversations=False))
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[case.training["precision"]]
    job = JobSpec.model_validate(spec)
    planned = forecast(job, Path(job.base_model), samples, dtype, torch.device("cpu"), model_cache=Path())
    if planned.peak_memory_bytes is None:
        raise RuntimeError(f"there is no plan: {planned.reason}")
    return planned.peak_memory_bytes // MIB


def run(case: Case, folder: Path) -> int:
    """The peak in MiB of one stage in a process of its own.

    Raises:
        RuntimeError: the stage failed.
    """
    spec, data = prepare(case, folder)
    outputs = StageOutputs(artifact=Artifact(uri=data.uri, digest=data.digest, num_bytes=data.num_bytes))
    return run_stage("train", spec, folder / "stage", {"preprocess": outputs}).peak_bytes // MIB


def prepare(case: Case, folder: Path) -> tuple[dict[str, Any], ArtifactRef]:
    """The job file and the dataset of a case; a second time it does the same."""
    folder.mkdir(exist_ok=True)
    base = resolve_base_model(SMALL, WorkerSettings())
    model = base if case.model == SMALL else random_model(case.model, base, folder / "model")
    data = publish(write_documents(folder / "data", case), str(folder / "published"))
    spec = {
        "name": "case",
        "base_model": str(model),
        "data": {"path": "/unused", "max_length": case.longest + 10},
        "method": case.method,
        "objective": {"type": case.objective} | ({"teacher": str(model)} if case.objective == "distillation" else {}),
        "training": {**STEPS, **case.training},
    }
    return spec, data


def random_model(name: str, base: Path, folder: Path) -> Path:
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


def write_documents(folder: Path, case: Case) -> Path:
    """A dataset artifact of random tokens; the second half of each document is the target, as in a chat."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    sizes: dict[SplitName, int] = {"train": 64, "validation": 4, "test": 0}
    for split, num_rows in sizes.items():
        rows = []
        for row in range(num_rows):
            ids, trainable = random_document(rng, case.longest)
            note: dict[str, Any] = {"row": row + 1, "source": "random", "input_ids": ids, "trainable": trainable}
            if case.objective in ("dpo", "orpo", "reward"):
                rejected_ids, rejected = random_document(rng, case.longest)
                note |= {"rejected_ids": rejected_ids, "rejected_trainable": rejected}
            if case.objective in ("kto", "classification"):
                note["label"] = (DESIRABLE, UNDESIRABLE)[row % 2]
            rows.append(note)
        write_split(folder, split, rows)
    return folder


def random_document(rng: np.random.Generator, longest: int) -> tuple[Any, Any]:
    """Token ids, and which of them are targets."""
    ids = rng.integers(3, 49_000, int(rng.integers(longest // 5, longest + 1))).astype(np.int32)
    return ids, np.arange(len(ids)) >= len(ids) // 2


if __name__ == "__main__":
    sys.exit(main())
