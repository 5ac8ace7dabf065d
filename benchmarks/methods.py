"""Every method on the tickets example: what it trains, what it needs, how quick it is and how good it gets.

One row per method: trainable parameters, peak memory of the runner, tokens a second, validation loss, exact match on
the test split. Everything else is the example's job file: model, data, epochs, seed. Learning rates are the ones that
the literature suggests for the method, chosen once and not by looking at the test split.

Each row is written to --results as soon as it is known, and a row that is there is not measured again: all of them take
more than an hour on two cores. A table goes to stderr, and with --markdown the rows of `docs/methods.md` to stdout.
Speed means something only on a machine that does nothing else.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from support.figures import table
from support.stages import run_stage

from luthier.spec import load_job_file

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
    "freeze": ({"type": "freeze", "num_trainable_layers": 8}, 5e-5),
    "hft": ({"type": "hft"}, 5e-5),
    "full": ({"type": "full"}, 5e-5),
}
COLUMNS = ("method", "trainable", "peak_mib", "tokens_per_second", "validation_loss", "exact_match")


def main() -> int:
    """Measures the rows that are missing; 1 when one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--results", type=Path, default=Path("build") / "methods.jsonl", help="rows, one JSON object each"
    )
    parser.add_argument(
        "--max-steps", type=int, help="optimizer steps instead of the example's epochs, to try things out"
    )
    parser.add_argument("--markdown", action="store_true", help="print a table for the documentation")
    arguments = parser.parse_args()
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    rows = {row["method"]: row for row in read_rows(arguments.results)}
    failed = []
    with tempfile.TemporaryDirectory(prefix="luthier-methods-") as scratch:
        missing = [name for name in arguments.only if name not in rows]
        job = load_job_file(TICKETS).model_dump(mode="json")
        dataset = run_stage("preprocess", job, Path(scratch) / "preprocess") if missing else None
        for name in missing:
            assert dataset is not None
            try:
                rows[name] = measure(name, job, dataset.outputs, Path(scratch) / name, arguments.max_steps)
            except RuntimeError as error:
                failed.append(name)
                print(f"{name}: {error}", file=sys.stderr)
                continue
            with arguments.results.open("a") as stream:
                stream.write(json.dumps(rows[name]) + "\n")
            print(json.dumps(rows[name]), file=sys.stderr, flush=True)
    shown = [{column: rows[name][column] for column in COLUMNS} for name in METHODS if name in rows]
    print(table(shown), file=sys.stderr)
    if arguments.markdown:
        print(markdown(shown))
    return 1 if failed else 0


def measure(name: str, job: dict[str, Any], dataset: Any, folder: Path, max_steps: int | None) -> dict[str, Any]:
    """One row: trains, and evaluates on the test split."""
    section, rate = METHODS[name]
    training = {**job["training"], "learning_rate": rate, "max_steps": max_steps}
    # Without the sections that not every method can follow: nothing is exported here.
    kept = {key: value for key, value in job.items() if key not in ("export", "deploy")}
    spec = {**kept, "method": section, "training": training}
    trained = run_stage("train", spec, folder / "train", {"preprocess": dataset})
    inputs = {"preprocess": dataset, "train": trained.outputs}
    evaluated = run_stage("evaluate", spec, folder / "evaluate", inputs)
    metrics = evaluated.outputs.metrics
    return {
        "method": name,
        "section": section,
        "learning_rate": rate,
        "trainable": trained.result["num_trainable_parameters"],
        "peak_mib": trained.peak_bytes >> 20,
        "tokens_per_second": round(trained.result["tokens_per_second"], 1),
        "validation_loss": round(trained.result["best_validation_loss"], 4),
        "exact_match": round(metrics["exact_match_tuned"], 3),
        "exact_match_base": round(metrics["exact_match_base"], 3),
        "num_steps": trained.result["num_steps"],
        "precision": trained.result["precision"],
        "load_average": round(os.getloadavg()[0], 2),
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of earlier runs."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of the rows."""
    lines = ["| Method | Trained parameters | Peak memory, MiB | Tokens/s | Validation loss | Exact match |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    lines += [
        f"| {' | '.join(f'{value:,}' if isinstance(value, int) else str(value) for value in row.values())} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
