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
import subprocess
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

from luthier.artifacts import publish
from luthier.settings import WorkerSettings
from luthier.v1.stage_pb2 import Artifact, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.contract import read_outcome, write_task
from workers.data.dataset import SCHEMA
from workers.models import load_tokenizer, resolve_base_model

MIB = 1 << 20
STEPS = {"max_steps": 3, "eval_steps": 2, "save_steps": 2, "learning_rate": 1e-4}
SMALL = "smollm2-135m-instruct"
TINY = "tiny"


@dataclass(frozen=True)
class Case:
    """One run."""

    method: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    model: str = SMALL
    longest: int = 250
    """Tokens of the longest document; the shortest has a fifth of it."""


LORA, FULL = {"type": "lora", "r": 8}, {"type": "full"}
CASES = {
    "lora bf16": Case(LORA, {"precision": "bf16"}),
    "lora fp32": Case(LORA, {"precision": "fp32"}),
    "lora bf16, short rows": Case(LORA, {"precision": "bf16", "pack_length": 512}),
    "lora bf16, two rows at a time": Case(LORA, {"precision": "bf16", "per_device_train_batch_size": 2}),
    "lora bf16, long documents": Case(LORA, {"precision": "bf16"}, longest=1000),
    "lora bf16, some layers": Case({"type": "lora", "target_modules": ["q_proj", "v_proj"]}, {"precision": "bf16"}),
    "lora bf16, dropout": Case(LORA | {"lora_dropout": 0.1}, {"precision": "bf16"}),
    "lora bf16, checkpointing": Case(LORA, {"precision": "bf16", "gradient_checkpointing": "full"}),
    "qlora bf16": Case({"type": "qlora", "r": 8}, {"precision": "bf16"}),
    "full bf16": Case(FULL, {"precision": "bf16"}),
    "full fp32": Case(FULL, {"precision": "fp32"}),
    "full fp32, accumulation": Case(FULL, {"precision": "fp32", "gradient_accumulation_steps": 2, "pack_length": 512}),
    "full bf16, adafactor": Case(FULL, {"precision": "bf16", "optim": "adafactor"}),
    "full bf16, 8 bits": Case(FULL, {"precision": "bf16", "optim": "adamw_8bit"}),
    "full bf16, checkpointing": Case(FULL, {"precision": "bf16", "gradient_checkpointing": "full"}),
    "freeze bf16": Case({"type": "freeze", "num_trainable_layers": 8}, {"precision": "bf16"}),
    "hft bf16": Case({"type": "hft"}, {"precision": "bf16"}),
    "tiny lora fp32": Case(LORA, {"precision": "fp32"}, model=TINY),
    "tiny full fp32": Case(FULL, {"precision": "fp32"}, model=TINY),
}


def main() -> int:
    """Runs the cases; 1 when one is off or fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the names of the cases to run")
    parser.add_argument("--tolerance", type=float, default=0.15, help="largest deviation, as a part of the actual peak")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="plan-accuracy-") as scratch:
        for name, case in CASES.items():
            if arguments.only in name:
                rows.append({"case": name, **run(case, Path(scratch) / str(len(rows)))})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows), file=sys.stderr)
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


def run(case: Case, folder: Path) -> dict[str, Any]:
    """One stage in a process of its own. Memory in MiB.

    Raises:
        RuntimeError: the stage failed.
    """
    folder.mkdir()
    base = resolve_base_model(SMALL, WorkerSettings())
    model = tiny_model(base, folder / "model") if case.model == TINY else base
    data = publish(write_documents(folder / "data", case.longest), str(folder / "published"))
    spec = {
        "name": "case",
        "base_model": str(model),
        "data": {"path": "/unused", "max_length": case.longest + 10},
        "method": case.method,
        "training": {**STEPS, **case.training},
    }
    if spec["data"]["max_length"] > spec["training"].get("pack_length", 1024):
        raise ValueError("the documents do not fit into the rows of this case")
    stage = Stage(stage_id="stage", job_id="job", name="train", kind="train", attempt=1, fence=1)
    outputs = StageOutputs(artifact=Artifact(uri=data.uri, digest=data.digest, num_bytes=data.num_bytes))
    assignment = StageAssignment(
        stage=stage, spec_json=json.dumps(spec), output_uri=str(folder / "out"), inputs={"preprocess": outputs}
    )
    work = folder / "work"
    work.mkdir()
    write_task(work, assignment)
    environment = WorkerSettings(data_roots="/").runner_environment()
    log = (work / "log").open("w")
    runner = subprocess.Popen(
        [sys.executable, "-m", "workers.runner", str(work)], env=environment, stdout=log, stderr=log
    )
    _, _, usage = os.wait4(runner.pid, 0)
    outcome = read_outcome(work)
    if not isinstance(outcome, StageOutputs):
        raise RuntimeError(f"the stage failed: {outcome}\n{(work / 'log').read_text()[-2000:]}")
    result = json.loads(outcome.result_json)
    memory, seconds = result["plan"]["peak_memory_bytes"], result["plan"]["training_seconds"]
    actual = usage.ru_maxrss * 1024
    return {
        "trained": result["num_trainable_parameters"],
        "predicted": memory["predicted"] // MIB,
        "in_summary": memory["actual"] // MIB,
        "actual": actual // MIB,
        "deviation": round(memory["predicted"] / actual - 1, 3),
        "predicted_s": round(seconds["predicted"], 1),
        "actual_s": round(seconds["actual"], 1),
    }


def tiny_model(base: Path, folder: Path) -> Path:
    """A model of two narrow layers with random weights, and the tokenizer of `base`."""
    tokenizer = load_tokenizer(base)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=2,
        num_attention_heads=4,
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
