"""Every method on the tickets example: what it trains, what it needs, how quick it is and how good it gets.

One row per method: trainable parameters, peak memory of the runner, tokens a second, validation loss, exact match on
the test split. Everything else is the example's job file (model, data, seed) with one epoch instead of two. Learning
rates are usual ones for the method, chosen once and not by looking at the test split.

Two measurements, each resumable, for a row that is in its file is not measured again:

- `quality` trains and evaluates each method. All of them take more than an hour on two cores; other work on the
  machine makes it longer and changes nothing else.
- `speed` trains every method for a few steps, in rounds, and wants a machine that does nothing else. Its figures are
  the median over the steps of all rounds, each round's first step left out, and the highest peak of memory.

`table` prints both as the rows of `docs/methods.md`.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.stages import run_stage

from luthier.spec import load_job_file
from luthier.v1.stage_pb2 import StageOutputs

Measure = Callable[[dict[str, Any], StageOutputs, Path], dict[str, Any]]

TICKETS = Path(__file__).parents[1] / "examples" / "tickets" / "job.yaml"
_LORA = {"r": 16, "lora_alpha": 32.0}
# The method's section, and its learning rate.
METHODS: dict[str, tuple[dict[str, Any], float]] = {
    "lora": ({"type": "lora", **_LORA}, 1e-3),
    "rslora": ({"type": "lora", **_LORA, "use_rslora": True}, 5e-4),
    "dora": ({"type": "lora", **_LORA, "use_dora": True}, 1e-3),
    "lora_plus": ({"type": "lora", **_LORA, "lora_plus_ratio": 16.0}, 2e-4),
    "pissa": ({"type": "lora", **_LORA, "init_lora_weights": "pissa"}, 2e-4),
    "olora": ({"type": "lora", **_LORA, "init_lora_weights": "olora"}, 2e-4),
    "qlora": ({"type": "qlora", **_LORA}, 1e-3),
    "adalora": ({"type": "adalora"}, 2e-3),
    "ia3": ({"type": "ia3"}, 5e-3),
    "oft": ({"type": "oft"}, 1e-3),
    "bottleneck": ({"type": "bottleneck"}, 1e-3),
    "prompt_tuning": ({"type": "prompt_tuning"}, 3e-2),
    "prefix_tuning": ({"type": "prefix_tuning"}, 1e-2),
    "spiel": ({"type": "spiel"}, 1e-4),
    "freeze": ({"type": "freeze", "num_trainable_layers": 8}, 5e-5),
    "hft": ({"type": "hft"}, 5e-5),
    "full": ({"type": "full"}, 5e-5),
}
_SPEED_STEPS = 5


def main() -> int:
    """Measures what is missing, or prints it; 1 when a method fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("quality", "speed", "table"))
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--results", type=Path, default=Path("build") / "methods", help="folder of the measured rows")
    parser.add_argument("--rounds", type=int, default=2, help="of `speed`")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    if arguments.what == "table":
        print(markdown(arguments.results))
        return 0
    with tempfile.TemporaryDirectory(prefix="luthier-methods-") as scratch:
        bench = Bench(Path(scratch), arguments.results / f"{arguments.what}.jsonl")
        if arguments.what == "quality":
            bench.run(quality, arguments.only, rounds=1)
        else:
            bench.run(speed, arguments.only, rounds=arguments.rounds)
    return 1 if bench.failed else 0


class Bench:
    """Measures methods one after the other and keeps their rows."""

    def __init__(self, scratch: Path, results: Path) -> None:
        self._scratch = scratch
        self._results = results
        self._job = load_job_file(TICKETS).model_dump(mode="json")
        self._dataset = run_stage("preprocess", self._job, scratch / "preprocess").outputs
        self.failed: list[str] = []

    def run(self, measure: Measure, methods: Sequence[str], *, rounds: int) -> None:
        """All `methods` once in each round; rows that are there already are left as they are."""
        known = {(row["method"], row["round"]) for row in read_rows(self._results)}
        for number in range(rounds):
            for name in methods:
                if (name, number) not in known and name not in self.failed:
                    self._measure(measure, name, number)

    def _measure(self, measure: Measure, name: str, number: int) -> None:
        folder = self._scratch / f"{name}-{number}"
        try:
            row = {"method": name, "round": number, **measure(self._spec(name), self._dataset, folder)}
        except RuntimeError as error:
            self.failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        row["load_average"] = round(os.getloadavg()[0], 2)
        with self._results.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(json.dumps(row), file=sys.stderr, flush=True)

    def _spec(self, name: str) -> dict[str, Any]:
        """The example's job with this method, without the sections that not every method can follow."""
        section, rate = METHODS[name]
        kept = {key: value for key, value in self._job.items() if key not in ("export", "deploy")}
        training = {**self._job["training"], "learning_rate": rate, "num_train_epochs": 1.0}
        return {**kept, "method": section, "training": training}


def quality(spec: dict[str, Any], dataset: StageOutputs, folder: Path) -> dict[str, Any]:
    """Trains, and evaluates on the test split."""
    trained = run_stage("train", spec, folder / "train", {"preprocess": dataset})
    evaluated = run_stage("evaluate", spec, folder / "evaluate", {"preprocess": dataset, "train": trained.outputs})
    metrics = evaluated.outputs.metrics
    return {
        "learning_rate": spec["training"]["learning_rate"],
        "trainable": trained.result["num_trainable_parameters"],
        "validation_loss": round(trained.result["best_validation_loss"], 4),
        "exact_match": round(metrics["exact_match_tuned"], 3),
        "exact_match_base": round(metrics["exact_match_base"], 3),
        "num_steps": trained.result["num_steps"],
        "precision": trained.result["precision"],
    }


def speed(spec: dict[str, Any], dataset: StageOutputs, folder: Path) -> dict[str, Any]:
    """Trains for a few steps, with one validation, so that memory comes to its peak."""
    training = {**spec["training"], "max_steps": _SPEED_STEPS, "eval_steps": _SPEED_STEPS}
    trained = run_stage("train", {**spec, "training": training}, folder, {"preprocess": dataset})
    lines = (Path(trained.outputs.artifact.uri) / "metrics.jsonl").read_text().splitlines()
    rates = [round(json.loads(line)["tokens_per_second"], 1) for line in lines[1:]]
    return {"tokens_per_second": rates, "peak_mib": trained.peak_bytes >> 20}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of earlier runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def markdown(results: Path) -> str:
    """A table of all rows that are in `results`; a cell that was not measured is empty."""
    qualities = {row["method"]: row for row in read_rows(results / "quality.jsonl")}
    speeds: dict[str, list[dict[str, Any]]] = {}
    for row in read_rows(results / "speed.jsonl"):
        speeds.setdefault(row["method"], []).append(row)
    lines = ["| Method | Trained parameters | Peak memory, MiB | Tokens/s | Validation loss | Exact match |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, row in sorted(qualities.items(), key=lambda item: [*METHODS].index(item[0])):
        rounds = speeds.get(name, [])
        rates = [rate for one in rounds for rate in one["tokens_per_second"]]
        peak = f"{max(one['peak_mib'] for one in rounds):,}" if rounds else ""
        rate = f"{statistics.median(rates):,.0f}" if rates else ""
        figures = f"{row['trainable']:,} | {peak} | {rate} | {row['validation_loss']:.3f} | {row['exact_match']:.3f}"
        lines.append(f"| {name} | {figures} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
