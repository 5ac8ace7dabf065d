"""What activation checkpointing costs and saves: LoRA on SmolLM2-135M with none, selective and full, in turns.

A process each, so that the peak is its own: what the kernel has seen resident (VmHWM). Time is that of an optimizer
step over all chats, the first of a process not counted; the processor's seconds say the same on a machine that
does other things too. The losses have to be equal to the last bit. One JSON object on stdout, a table on stderr.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.chats import write_chats
from support.figures import table
from support.trainings import run

from luthier.settings import WorkerSettings
from workers.models import load_tokenizer, resolve_base_model

HOW = ("none", "selective", "full")
MIB = 1 << 20


def main() -> int:
    """Runs all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps of a process; the first is not timed")
    parser.add_argument("--chats", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    folder = resolve_base_model(arguments.base_model, WorkerSettings())
    runs: dict[str, list[dict[str, Any]]] = {how: [] for how in HOW}
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        chats = Path(scratch) / "chats.jsonl"
        num_tokens = write_chats(load_tokenizer(folder), arguments.chats, arguments.seed, chats)
        for _ in range(arguments.rounds):
            for how in HOW:
                result = run("sft_luthier.py", str(folder), str(chats), "lora", str(arguments.steps), "1e-3", how)
                runs[how].append(result)
                print(how, result["step_seconds"], result["peak_memory_bytes"] // MIB, "MiB", file=sys.stderr)
    rows = [summarise(how, runs[how], runs["none"]) for how in HOW]
    is_equal = len({tuple(one["losses"]) for results in runs.values() for one in results}) == 1
    print(json.dumps({"benchmark": "recompute_memory", "num_tokens": num_tokens, "equal": is_equal, "rows": rows}))
    print(table(rows), file=sys.stderr)
    return 0 if is_equal else 1


def summarise(how: str, results: list[dict[str, Any]], plain: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over rounds, and the processor's seconds as a multiple of those of the same round without."""
    return {
        "checkpointing": how,
        "peak_mib": round(statistics.median(one["peak_memory_bytes"] for one in results) / MIB),
        "step_s": round(statistics.median(statistics.median(one["step_seconds"][1:]) for one in results), 2),
        "step_cpu_s": round(statistics.median(one["step_cpu_seconds"] for one in results), 2),
        "to_none": round(
            statistics.median(
                one["step_cpu_seconds"] / other["step_cpu_seconds"] for one, other in zip(results, plain, strict=True)
            ),
            2,
        ),
    }


if __name__ == "__main__":
    sys.exit(main())
