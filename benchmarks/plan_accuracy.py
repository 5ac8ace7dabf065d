"""How near the plan is: predicted against actual peak memory of real training runners, one process each.

Every case is one `train` stage in a runner of its own (`python -m workers.runner`), on synthetic documents, with
validation and checkpoints, as a job has it. The peak is read from the kernel when the process has ended. Time is not
looked at: memory does not depend on what else the machine does, time does.

Five figures of the plan are measured and not derived (luthier/planning/process.py): what a runner takes before its
model is touched, what oneDNN keeps, the waste of the C library's allocator in bf16 and in fp32, and how it grows with
the steps. They were set by the cases that are marked as fitted (support/plan_cases.py); all other cases are held out.
Of several ranks the largest process counts.

With --results the peaks are kept in a file, and cases that are in it are not run again; predictions are always those of
the code as it is. A table on stderr, one JSON object on stdout; 1 when a prediction is further off than --tolerance.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from support.figures import table
from support.plan_cases import CASES, Case
from support.plan_stages import prepare
from support.stages import run_stage

from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data.dataset import load_split
from workers.models import resolve_base_model
from workers.training.forecast import forecast
from workers.training.rows import Rows

MIB = 1 << 20


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
    rows: list[dict[str, Any]] = []
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
    spec, data = prepare(case, folder)
    samples = Rows(load_split(Path(data.uri), "train", conversations=False))
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[case.training["precision"]]
    job = JobSpec.model_validate(spec)
    base = resolve_base_model(job.base_model, WorkerSettings(data_roots="/"))
    ranks = job.resources.num_ranks
    planned = forecast(job, base, samples, dtype, torch.device("cpu"), num_ranks=ranks, model_cache=Path())
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


if __name__ == "__main__":
    sys.exit(main())
