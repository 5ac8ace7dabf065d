"""Memory and time of `preprocess` for inputs of growing size: one JSON object on stdout, a table on stderr.

Each size is a process of its own whose resident memory, with that of its children, is looked at four times a second;
it is killed when it is over the limit (2 GiB). The line through the sizes, and what it says of 100 GB, is a fit and
labelled as one. The exit status is 1 if a size went over the limit.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from support.chat_rows import write_rows
from support.figures import table

from luthier.settings import WorkerSettings
from workers.models import resolve_base_model

LIMIT_BYTES = 2 << 30
_ARM = Path(__file__).parent / "arms" / "data_size.py"
_BLOCK_ROWS = 20_000
_PAUSE_SECONDS = 0.25
"""To look takes the kernel some 10 ms per process, during which the process waits."""
_FITTED = ("seconds", "cpu_seconds", "peak_mib")


def main() -> int:
    """Runs all sizes, the smallest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 2, 4, 8], help="in GB")
    parser.add_argument("--near", action="store_true", help="look for near duplicates as well")
    parser.add_argument("--base-model", default="smollm2-135m-instruct")
    parser.add_argument("--scratch", type=Path, help="a folder with room for four times the largest size")
    arguments = parser.parse_args()
    model = resolve_base_model(arguments.base_model, WorkerSettings())
    found = []
    with tempfile.TemporaryDirectory(prefix="luthier-bench-", dir=arguments.scratch) as folder:
        rows = Path(folder) / "rows.jsonl"
        for size in sorted(arguments.sizes):
            _grow(rows, int(size * 1e9))
            found.append({"gb": size, **_measure(model, rows, Path(folder) / "output", near=arguments.near)})
            print(found[-1], file=sys.stderr)
    fit = _fit(found)
    print(json.dumps({"benchmark": "data_memory", "limit_gib": LIMIT_BYTES / 2**30, "sizes": found, "fit": fit}))
    print(table(found), file=sys.stderr)
    if fit:
        print(f"a linear fit, not a measurement: {fit}", file=sys.stderr)
    return 0 if all(one["is_within"] for one in found) else 1


def _grow(rows: Path, num_bytes: int) -> None:
    """Appends blocks of different chats until the file is as large."""
    block = rows.with_suffix(".block")
    with rows.open("ab") as stream:
        while stream.tell() < num_bytes:
            write_rows(block, _BLOCK_ROWS, seed=stream.tell())
            stream.write(block.read_bytes())
        stream.truncate(num_bytes)


def _measure(model: Path, rows: Path, output: Path, *, near: bool) -> dict[str, object]:
    output.mkdir()
    started, cpu_before = time.monotonic(), _cpu_seconds()
    command = [sys.executable, str(_ARM), str(model), str(rows), str(output), "near" if near else "exact"]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and peak <= LIMIT_BYTES:
            peak = max(peak, _resident(process.pid))
            time.sleep(_PAUSE_SECONDS)
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
    shutil.rmtree(output)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(_cpu_seconds() - cpu_before, 1),
        "peak_mib": peak >> 20,
        "is_within": peak <= LIMIT_BYTES and process.returncode == 0,
    }


def _cpu_seconds() -> float:
    """Of all that was started here and has ended; the same whatever else the machine does meanwhile."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _resident(pid: int) -> int:
    """Of a process and all below it; a page that several of them share counts once (Linux's proportional set size)."""
    total = 0
    try:
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.NoSuchProcess:
        return total
    return total


def _fit(found: list[dict[str, object]]) -> dict[str, float]:
    """Seconds, seconds of CPUs and MiB by GB, and of 100 GB."""
    done = [one for one in found if one["is_within"]]
    if len(done) < 2:
        return {}
    sizes = [float(str(one["gb"])) for one in done]
    lines = {name: np.polyfit(sizes, [float(str(one[name])) for one in done], 1) for name in _FITTED}
    slopes = {f"{name}_per_gb": round(float(line[0]), 2) for name, line in lines.items()}
    return slopes | {f"{name}_of_100_gb": round(float(np.polyval(line, 100)), 1) for name, line in lines.items()}


if __name__ == "__main__":
    sys.exit(main())
