"""How near the plan is: predicted against actual peak memory of real training runners, one process each.

Every case is one `train` stage in a runner of its own (`python -m workers.runner`), on synthetic documents, with
validation and checkpoints, as a job has it. What was predicted and what was used stand in the run's summary; the peak
is read once more from the kernel when the process has ended. Time is printed too, but means something only on a
machine that does nothing else.

A table on stderr, one JSON object on stdout; 1 when a prediction is further off than --tolerance.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from pyarrow import parquet as pq
from support.figures import table
from support.stages import run_stage

from luthier.artifacts import ArtifactRef, publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data.dataset import SCHEMA, load_split
from workers.models import load_tokenizer, resolve_base_model
from workers.training.forecast import forecast
from workers.training.samples import Sample

MIB = 1 << 20
STEPS = {"max_steps": 3, "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-4}
SMALL = "smollm2-135m-instruct"
NARROW, TINY = "narrow", "tiny"
SHAPES = {NARROW: (384, 1024, 12, 6), TINY: (64, 160, 2, 4)}
"""Width, MLP, blocks and heads of models with random weights: quick, where SmolLM2 takes minutes."""


@dataclass(frozen=True)
class Case:
    """One run."""

    method: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    model: str = SMALL
    longest: int = 250
    """Tokens of the longest document; the shortest has a fifth of it."""


LORA, FULL = {"type": "lora", "r": 8}, {"type": "full"}
BF16, FP32 = {"precision": "bf16"}, {"precision": "fp32"}
CASES = {
    "smollm2 lora bf16": Case(LORA, BF16),
    "smollm2 lora fp32": Case(LORA, FP32),
    "smollm2 lora bf16, two rows at a time": Case(LORA, BF16 | {"per_device_train_batch_size": 2}),
    "smollm2 lora bf16, long documents": Case(LORA, BF16, longest=1000),
    "smollm2 qlora bf16": Case({"type": "qlora", "r": 8}, BF16),
    "smollm2 full bf16": Case(FULL, BF16),
    "smollm2 full fp32": Case(FULL, FP32),
    "narrow lora bf16": Case(LORA, BF16, NARROW),
    "narrow lora fp32": Case(LORA, FP32, NARROW),
    "narrow lora bf16, some layers": Case(LORA | {"target_modules": ["q_proj", "v_proj"]}, BF16, NARROW),
    "narrow lora bf16, dropout": Case(LORA | {"lora_dropout": 0.1}, BF16, NARROW),
    "narrow lora bf16, checkpointing": Case(LORA, BF16 | {"gradient_checkpointing": "full"}, NARROW),
    "narrow qlora bf16": Case({"type": "qlora", "r": 8}, BF16, NARROW),
    "narrow full bf16": Case(FULL, BF16, NARROW),
    "narrow full fp32": Case(FULL, FP32, NARROW),
    "narrow full fp32, accumulation": Case(FULL, FP32 | {"gradient_accumulation_steps": 2}, NARROW),
    "narrow full fp32, adafactor": Case(FULL, FP32 | {"optim": "adafactor"}, NARROW),
    "narrow full fp32, 8 bits": Case(FULL, FP32 | {"optim": "adamw_8bit"}, NARROW),
    "narrow full fp32, checkpointing": Case(FULL, FP32 | {"gradient_checkpointing": "full"}, NARROW),
    "narrow freeze bf16": Case({"type": "freeze", "num_trainable_layers": 4}, BF16, NARROW),
    "narrow hft bf16": Case({"type": "hft"}, BF16, NARROW),
    "tiny lora fp32": Case(LORA, FP32, TINY),
    "tiny full fp32": Case(FULL, FP32, TINY),
}


def main() -> int:
    """Runs the cases; 1 when one is off or fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the cases to run")
    parser.add_argument("--predict", action="store_true", help="run nothing, print what the plans say")
    parser.add_argument("--tolerance", type=float, default=0.15, help="largest deviation, as a part of the actual peak")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="plan-accuracy-") as scratch:
        for name, case in CASES.items():
            if arguments.only in name:
                folder = Path(scratch) / str(len(rows))
                rows.append({"case": name, **(predict(case, folder) if arguments.predict else run(case, folder))})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows), file=sys.stderr)
    if arguments.predict:
        return 0
    deviations = [abs(float(row["deviation"])) for row in rows]
    document = {
        "benchmark": "plan_accuracy",
        "cases": rows,
        "largest_deviation": max(deviations),
        "median_deviation": round(statistics.median(deviations), 3),
        "tolerance": arguments.tolerance,
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
    print(json.dumps(document))
    return 0 if max(deviations) <= arguments.tolerance else 1


def predict(case: Case, folder: Path) -> dict[str, Any]:
    """What the plan says, in MiB, without running it."""
    spec, _ = prepare(case, folder)
    rows = load_split(folder / "published", "train")
    samples = [Sample(number, (row,)) for number, row in enumerate(rows)]
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[case.training["precision"]]
    job = JobSpec.model_validate(spec)
    planned = forecast(job, Path(job.base_model), samples, dtype, torch.device("cpu"))
    return {"predicted": (planned.peak_memory_bytes or 0) // MIB}


def run(case: Case, folder: Path) -> dict[str, Any]:
    """One stage in a process of its own. Memory in MiB.

    Raises:
        RuntimeError: the stage failed.
    """
    spec, data = prepare(case, folder)
    outputs = StageOutputs(artifact=Artifact(uri=data.uri, digest=data.digest, num_bytes=data.num_bytes))
    finished = run_stage("train", spec, folder / "stage", {"preprocess": outputs})
    result, actual = finished.result, finished.peak_bytes
    memory, seconds = result["plan"]["peak_memory_bytes"], result["plan"]["training_seconds"]
    return {
        "trained": result["num_trainable_parameters"],
        "predicted": memory["predicted"] // MIB,
        "in_summary": memory["actual"] // MIB,
        "actual": actual // MIB,
        "deviation": round(memory["predicted"] / actual - 1, 3),
        "predicted_s": round(seconds["predicted"], 1),
        "actual_s": round(seconds["actual"], 1),
    }


def prepare(case: Case, folder: Path) -> tuple[dict[str, Any], ArtifactRef]:
    """The job file and the dataset of a case."""
    folder.mkdir()
    base = resolve_base_model(SMALL, WorkerSettings())
    model = base if case.model == SMALL else random_model(case.model, base, folder / "model")
    data = publish(write_documents(folder / "data", case.longest), str(folder / "published"))
    spec = {
        "name": "case",
        "base_model": str(model),
        "data": {"path": "/unused", "max_length": case.longest + 10},
        "method": case.method,
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


def write_documents(folder: Path, longest: int) -> Path:
    """A dataset artifact of random tokens; the second half of each document is the target, as in a chat."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for split, num_rows in {"train": 64, "validation": 4, "test": 0}.items():
        rows = []
        for row in range(num_rows):
            ids = rng.integers(3, 49_000, int(rng.integers(longest // 5, longest + 1))).astype(np.int32)
            rows.append(
                {
                    "row": row + 1,
                    "source": "random",
                    "input_ids": ids,
                    "trainable": np.arange(len(ids)) >= len(ids) // 2,
                }
            )
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / f"{split}.parquet")
    return folder


if __name__ == "__main__":
    sys.exit(main())
