"""Preprocessing of chats beside the tools that people use for it: one JSON object on stdout, a table on stderr.

The same generated chats go through `preprocess` (validate, clean, exact and near duplicates, split, tokenise; then
packs) and through `datasets` and TRL, which look for no near duplicates and so do it with text-dedup or datatrove: the
quicker of the two is the quickest complete pipeline. Each is a process of its own, the last two in venvs of their own,
all with as many processes as there are cores. The others may be given the first `--rival-rows` of the rows, because
what a row costs them does not grow with their number; rates are per row then.

What is compared besides: on the first `--check-rows`, not cleaned, because two cleaners differ, both keep the same
rows, with the same ids, and learn from the same token on (TRL also learns the line end after the answer); and how many
injected copies each finds. The exit status is 1 if rows or ids differ. Times are of the work, without the start of
Python.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from support.chat_rows import write_rows
from support.figures import table
from support.venvs import ensure_venv

from luthier.settings import WorkerSettings
from workers.models import resolve_base_model

TEXT_DEDUP_PINS = (
    "datasets==5.2.0",
    "click==8.5.1",
    "click-option-group==0.5.9",
    "rich==13.9.4",
    "scipy==1.17.1",
    "xxhash==4.1.0",
    "regex==2026.11.15",
    "psutil==7.2.2",
    "ftfy==6.3.1",
    "bitarray==3.12.3",
    "pybloom-live==4.0.0",
)
DATATROVE_PINS = (
    "datatrove==0.10.1",
    "nltk==3.10.4",
    "orjson==3.13.0",
    "pyarrow==25.0.1",
    "regex==2026.11.15",
    "spacy==3.8.18",
    "tokenizers==0.23.3",
    "xxhash==3.8.2",
)
NUM_PROCESSES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
MAX_LENGTH = 4096
TARGET_RATIO, TARGET_ROWS_PER_HOUR = 5.0, 10_000_000
_ARMS = Path(__file__).parent / "arms"


def main() -> int:
    """Runs all arms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rival-rows", type=int, default=60_000)
    parser.add_argument("--check-rows", type=int, default=5_000)
    parser.add_argument("--base-model", default="smollm2-135m-instruct")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "luthier-benchmarks")
    arguments = parser.parse_args()
    model = resolve_base_model(arguments.base_model, WorkerSettings())
    venvs = {
        "text-dedup": ensure_venv(arguments.cache, "text-dedup", TEXT_DEDUP_PINS, ["text-dedup==0.4.0"]),
        "datatrove": ensure_venv(arguments.cache, "datatrove", DATATROVE_PINS),
    }
    with tempfile.TemporaryDirectory(prefix="luthier-bench-") as scratch:
        folder = Path(scratch)
        kinds = write_rows(folder / "rows.jsonl", arguments.rows)
        for name, size in (("rival", arguments.rival_rows), ("check", arguments.check_rows)):
            _head(folder / "rows.jsonl", folder / f"{name}.jsonl", size)
        ours, kept = _ours(model, folder / "rows.jsonl", folder, "near")
        rivals = _rivals(model, venvs, folder)
        check = _check(model, folder)
    num_rival = min(arguments.rival_rows, arguments.rows)
    arms = [{"arm": "luthier", "num_rows": arguments.rows, "seconds": ours, **_found(kinds, kept)}]
    for name, rival in rivals.items():
        arms.append(
            {
                "arm": name,
                "num_rows": num_rival,
                "seconds": rival["seconds"],
                **_found(kinds[:num_rival], rival["kept"]),
            }
        )
    for arm in arms:
        arm["rows_per_second"] = round(arm["num_rows"] / sum(arm["seconds"].values()), 1)
    quickest = max(arms[1:], key=lambda arm: arm["rows_per_second"])
    ratio = arms[0]["rows_per_second"] / quickest["rows_per_second"]
    print(json.dumps({"benchmark": "data_throughput", "num_processes": NUM_PROCESSES, "arms": arms, "check": check}))
    print(table([{**arm, "seconds": _spelled(arm["seconds"])} for arm in arms]), file=sys.stderr)
    print(f"checked on {arguments.check_rows} rows: {check}", file=sys.stderr)
    print(
        f"{ratio:.1f} times {quickest['arm']}, the quickest complete pipeline (target {TARGET_RATIO:g}); "
        f"{arms[0]['rows_per_second'] * 3600 / 1e6:.1f} M rows/hour on {NUM_PROCESSES} cores "
        f"(target {TARGET_ROWS_PER_HOUR / 1e6:g} M)",
        file=sys.stderr,
    )
    return 0 if check["same_rows"] and check["same_ids"] and check["same_starts"] else 1


def _ours(model: Path, rows: Path, folder: Path, how: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds by step, and what is kept: by row the ids and the mask, where `how` is `exact`."""
    out = folder / f"luthier-{how}"
    out.mkdir()
    result = _run(sys.executable, "data_luthier.py", [model, rows, out, how, MAX_LENGTH])
    return result["seconds"], json.loads((folder / f"{out.name}-kept.json").read_text())


def _rivals(model: Path, venvs: dict[str, Path], folder: Path) -> dict[str, dict[str, Any]]:
    """Of each complete pipeline the seconds by step, and the ids that are kept."""
    out = folder / "trl"
    out.mkdir()
    prepared = _run(sys.executable, "data_trl.py", ["prepare", folder / "rival.jsonl", out, NUM_PROCESSES, "clean"])
    found = {}
    for name, venv in venvs.items():
        near = folder / name
        near.mkdir()
        script = f"data_{name.replace('-', '_')}.py"
        result = _run(str(venv / "bin" / "python"), script, [out / "prepared.parquet", near, NUM_PROCESSES])
        found[name] = result
    # The two keep about as many rows, so the rest is timed once.
    quickest = min(found, key=lambda name: found[name]["seconds"])
    (folder / "kept.json").write_text(json.dumps(found[quickest]["ids"]))
    arguments = ["finish", model, out, folder / "kept.json", NUM_PROCESSES, MAX_LENGTH, "pack"]
    finished = _run(sys.executable, "data_trl.py", arguments)
    return {
        f"datasets + TRL + {name}": {
            "seconds": {"prepare": prepared["seconds"], "near": result["seconds"], "finish": finished["seconds"]},
            "kept": set(result["ids"]),
        }
        for name, result in found.items()
    }


def _check(model: Path, folder: Path) -> dict[str, Any]:
    """Whether rows, ids and the start of what is learned are equal where only equal rows are dropped."""
    _, ours = _ours(model, folder / "check.jsonl", folder, "exact")
    out = folder / "trl-check"
    out.mkdir()
    _run(sys.executable, "data_trl.py", ["prepare", folder / "check.jsonl", out, NUM_PROCESSES, "as-is"])
    _run(sys.executable, "data_trl.py", ["finish", model, out, "-", NUM_PROCESSES, MAX_LENGTH, "plain"])
    theirs = json.loads((out / "tokens.json").read_text())
    both = [(ours[row], theirs[row]) for row in ours.keys() & theirs.keys()]
    return {
        "num_rows": len(both),
        "same_rows": ours.keys() == theirs.keys(),
        "same_ids": all(mine[0] == other[0] for mine, other in both),
        "same_starts": all(mine[1][other[1].index(1)] == 1 for mine, other in both),
    }


def _found(kinds: Sequence[str], kept: Any) -> dict[str, Any]:
    """Shares of the injected copies that were dropped, and of what was dropped that is no copy."""
    dropped = [kind for number, kind in enumerate(kinds, 1) if str(number) not in kept and number not in kept]
    return {
        **{
            f"{kind}_found": round(dropped.count(kind) / max(1, list(kinds).count(kind)), 3)
            for kind in ("exact", "near")
        },
        "wrongly_dropped": dropped.count("original"),
    }


def _run(python: str, script: str, arguments: Sequence[object]) -> Any:
    command = [python, str(_ARMS / script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _head(source: Path, target: Path, num_rows: int) -> None:
    with source.open() as rows, target.open("w") as stream:
        stream.writelines(islice(rows, num_rows))


def _spelled(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in seconds.items())


if __name__ == "__main__":
    sys.exit(main())
