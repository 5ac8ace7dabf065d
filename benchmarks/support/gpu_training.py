"""The GPU part of train_throughput.py: our engine and Transformers with PEFT in turns, one process each.

Useful tokens are those of the documents. Model FLOPs utilisation counts the same operations per token for both arms
(workers/training/utilisation.py), so padding lowers it; it is left out where luthier/planning/hardware.yaml does not
have the GPU.
"""

import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from support.figures import table
from support.shapes import write_documents
from support.trainings import judge, run

ARMS = {"luthier": "gpu_luthier.py", "transformers_peft": "gpu_peft.py"}
NUM_DOCUMENTS, NUM_STEPS, LEARNING_RATE = 64, 6, "5e-4"
NUM_UNTIMED = 2
"""Steps of a process in which kernels are compiled, chosen and memory is taken."""
_GIB = 1 << 30


def on_a_gpu(shapes: Sequence[str], num_rounds: int, seed: int) -> int:
    """Runs all rounds of both arms; prints as train_throughput.py does and returns its exit status."""
    if not torch.cuda.is_available():
        print("--device cuda: PyTorch finds no CUDA device here; run this on a machine with one GPU", file=sys.stderr)
        return 1
    found = {shape: _measure(shape, num_rounds, seed) for shape in shapes}
    report = {
        "benchmark": "train_throughput",
        "device": torch.cuda.get_device_name(),
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / _GIB, 1),
        "rounds": num_rounds,
        "num_documents": NUM_DOCUMENTS,
        "shapes": found,
        "versions": {
            "python": platform.python_version(),
            "cuda": torch.version.cuda,
            **{name: version(name) for name in ("torch", "transformers", "peft")},
        },
    }
    print(json.dumps(report))
    print(table([row for shape in found.values() for row in shape["table"]]), file=sys.stderr)
    for shape, summary in found.items():
        print(f"{shape}: {summary['ratio_to_transformers_peft']} x Transformers and PEFT", file=sys.stderr)
    return 0 if all(all(summary["gates"].values()) for summary in found.values()) else 1


def summarise(shape: str, runs: Mapping[str, Sequence[dict[str, Any]]], num_tokens: int) -> dict[str, Any]:
    """Medians over rounds, ratio and gates of one shape."""
    speeds = {
        name: [num_tokens / statistics.median(one["step_seconds"][NUM_UNTIMED:]) for one in rows]
        for name, rows in runs.items()
    }
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    arms = {name: rows[0] for name, rows in runs.items()}
    ours = arms["luthier"]
    share = ours["seconds_per_flop_at_peak"]
    return {
        "num_tokens_per_step": num_tokens,
        "tokens_per_second": {name: [round(one, 1) for one in values] for name, values in speeds.items()},
        "losses": {name: arm["losses"] for name, arm in arms.items()},
        "grad_norms": {name: arm["grad_norms"] for name, arm in arms.items()},
        "num_trainable_parameters": {name: arm["num_trainable_parameters"] for name, arm in arms.items()},
        "kernels": ours["kernels"],
        "ratio_to_transformers_peft": round(medians["luthier"] / medians["transformers_peft"], 2),
        "gates": judge(arms),
        "table": [
            {
                "shape": shape,
                "arm": name,
                "median_tokens_s": round(medians[name], 1),
                "slowest": round(min(values), 1),
                "quickest": round(max(values), 1),
                "mfu": "unknown" if share is None else round(medians[name] * ours["flops_per_token"] * share, 3),
                "peak_gib": round(max(one["peak_memory_bytes"] for one in runs[name]) / _GIB, 1),
            }
            for name, values in speeds.items()
        ],
    }


def _measure(shape: str, num_rounds: int, seed: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ARMS}
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        documents = Path(scratch) / "documents.jsonl"
        num_tokens = write_documents(shape, NUM_DOCUMENTS, seed, documents)
        for number in range(num_rounds):
            for name, script in ARMS.items():
                runs[name].append(run(script, shape, str(documents), str(NUM_STEPS), LEARNING_RATE, "cuda"))
                seconds = ", ".join(f"{one:.2f}" for one in runs[name][-1]["step_seconds"])
                print(f"{shape}, round {number + 1}, {name}: {seconds} s", file=sys.stderr)
    return summarise(shape, runs, num_tokens)
