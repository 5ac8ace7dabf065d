"""Our training beside TRL's: same model, chats, targets, adapter, precision and optimizer; one JSON object on stdout.

The measure is useful tokens a second: tokens of the chats, which padding and sharing do not change. Every optimizer
step learns from all chats, so that the losses of the arms can be compared step by step. Each arm is a process of its
own, because TRL changes the libraries that it imports; the arms take turns for some rounds, and the first step of each
process is not counted. A table goes to stderr; its last line is the ratio. The exit status is 1 when an arm did not
train, or trained something else than the others: then its speed means nothing.

With `--device cuda` it is Transformers and PEFT beside us on one GPU, with LoRA on models of 1 and 8 billion random
weights: support/gpu_training.py. It is sized to take less than ten minutes on an H100.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from support.chats import read_chats, write_chats
from support.figures import table
from support.gpu_training import on_a_gpu
from support.shapes import SHAPES
from support.trainings import judge, run

from luthier.settings import WorkerSettings
from workers.models import load_tokenizer, resolve_base_model

ARMS = {
    "luthier": ("sft_luthier.py",),
    "trl_default": ("sft_trl.py", "default"),
    "trl_packed": ("sft_trl.py", "packed"),
}
RATES = {"lora": 1e-3, "full": 5e-5}


def main() -> int:
    """Runs all rounds of all arms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=["1b", "8b"], help="with --device cuda")
    parser.add_argument("--methods", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--base-model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, help="5; with --device cuda 2")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps of a process; the first is not timed")
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        return on_a_gpu(arguments.shapes, arguments.rounds or 2, arguments.seed)
    arguments.rounds = arguments.rounds or 5
    folder = resolve_base_model(arguments.base_model, WorkerSettings())
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        chats = Path(scratch) / "chats.jsonl"
        num_tokens = write_chats(load_tokenizer(folder), arguments.chats, arguments.seed, chats)
        rows = read_chats(chats)
        targets = sum(sum(row["trainable"]) for row in rows) / num_tokens
        results = {method: measure(method, folder, chats, targets, arguments) for method in arguments.methods}
    report = {
        "benchmark": "train_throughput",
        "base_model": arguments.base_model,
        "num_chats": arguments.chats,
        "num_tokens": num_tokens,
        "shortest_and_longest": [f(len(row["input_ids"]) for row in rows) for f in (min, max)],
        "target_fraction": round(targets, 3),
        "rounds": arguments.rounds,
        "methods": {method: summarise(method, runs, num_tokens) for method, runs in results.items()},
        "num_cpus": os.cpu_count(),
        "cpu": cpu_name(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "peft", "trl")},
        },
    }
    print(json.dumps(report))
    lines = [line for method in report["methods"].values() for line in method["table"]]
    print(table(lines), file=sys.stderr)
    for method, summary in report["methods"].items():
        print(f"{method}: {summary['ratio_to_trl_packed']} x TRL packed", file=sys.stderr)
    return 0 if all(all(one["gates"].values()) for one in report["methods"].values()) else 1


def measure(
    method: str, folder: Path, chats: Path, targets: float, arguments: argparse.Namespace
) -> dict[str, list[dict[str, Any]]]:
    """What each process of each arm printed, the limit of matrix products among them, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ("gemm_limit", *arguments.arms)}
    for number in range(arguments.rounds):
        runs["gemm_limit"].append(run("gemm_limit.py", str(folder), method, str(targets)))
        for name in arguments.arms:
            script, *further = ARMS[name]
            common = (str(folder), str(chats), method, str(arguments.steps), str(RATES[method]))
            runs[name].append(run(script, *common, *further))
            seconds = ", ".join(f"{one:.2f}" for one in runs[name][-1]["step_seconds"])
            print(f"{method}, round {number + 1}, {name}: {seconds} s", file=sys.stderr)
    return runs


def summarise(method: str, runs: Mapping[str, Sequence[dict[str, Any]]], num_tokens: int) -> dict[str, Any]:
    """Medians over rounds, ratios and gates of one method."""
    speeds = {
        name: [num_tokens / statistics.median(one["step_seconds"][1:]) for one in rows]
        for name, rows in runs.items()
        if name != "gemm_limit"
    }
    speeds["gemm_limit"] = [one["tokens_per_second"] for one in runs["gemm_limit"]]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    packed = medians.get("trl_packed")
    arms = {name: rows[0] for name, rows in runs.items() if name != "gemm_limit"}
    return {
        "tokens_per_second": {name: [round(one, 1) for one in values] for name, values in speeds.items()},
        "losses": {name: arm["losses"] for name, arm in arms.items()},
        "grad_norms": {name: arm["grad_norms"] for name, arm in arms.items()},
        "num_trainable_parameters": {name: arm["num_trainable_parameters"] for name, arm in arms.items()},
        "ratio_to_trl_packed": packed and round(medians["luthier"] / packed, 2),
        "part_of_gemm_limit": round(medians["luthier"] / medians["gemm_limit"], 3),
        "gates": judge(arms),
        "table": [
            {
                "method": method,
                "arm": name,
                "median_tokens_s": round(medians[name], 1),
                "slowest": round(min(values), 1),
                "quickest": round(max(values), 1),
            }
            for name, values in speeds.items()
        ],
    }


def cpu_name() -> str:
    """As the kernel names it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    sys.exit(main())
