"""How much memory deciding on rows takes, between the two passes of `preprocess`: one JSON object per case on stdout.

Made-up fingerprints and signatures, one row in ten a copy of another, half of these exact. Each case runs in a process
of its own, and is run with half the rows, too: what a further row takes is the difference of their peaks.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

from luthier.spec import DataSpec, SftSpec
from workers.data.dedup import decide
from workers.data.dedup.signature import Signatures, pack, signing_of
from workers.data.parts import parts_of

_FILE_ROWS = 16384
CASES: dict[str, dict[str, Any]] = {
    "exact": {},
    "near": {"deduplicate": {"near": {}}},
    "groups": {"split": {"group_by": "customer", "near_duplicates_together": False}},
}


def main() -> None:
    """Runs the cases one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    for name in arguments.cases:
        half, whole = (_run(name, num_rows) for num_rows in (arguments.rows // 2, arguments.rows))
        slope = (whole["peak_bytes"] - half["peak_bytes"]) / (arguments.rows - arguments.rows // 2)
        print(json.dumps({"case": name, **whole, "bytes_per_further_row": round(slope)}))


def _run(name: str, num_rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        spec = DataSpec.model_validate({"path": "rows.jsonl", **CASES[name]})
        _write_rows(Path(folder) / "rows" / "0000", num_rows, spec)
        # A new interpreter, whose peak is its own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(measure, (Path(folder) / "rows", spec))


def measure(rows: Path, spec: DataSpec) -> dict[str, Any]:
    """Decides on the rows in this process."""
    parts = parts_of(spec, SftSpec())
    start = time.process_time()
    decisions = decide(rows, parts, [0], spec)
    return {
        "num_rows": len(decisions.split),
        "num_dropped": int((decisions.split < 0).sum()),
        "cpu_seconds": round(time.process_time() - start, 1),
        "peak_bytes": _peak_bytes(),
    }


def _write_rows(folder: Path, num_rows: int, spec: DataSpec) -> None:
    folder.mkdir(parents=True)
    for number, table in enumerate(_tables(num_rows, spec)):
        pq.write_table(table, folder / f"{number:08}.parquet", compression="zstd")


def _tables(num_rows: int, spec: DataSpec) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    signing = signing_of(spec)
    for start in range(0, num_rows, _FILE_ROWS):
        size = min(_FILE_ROWS, num_rows - start)
        ordinals = np.arange(start, start + size)
        halves = rng.integers(0, 1 << 64, (2, size), dtype=np.uint64)
        exact, near = slice(19, None, 20), slice(9, None, 20)
        halves[:, exact] = halves[:, slice(18, None, 20)][:, : halves[:, exact].shape[1]]
        columns: dict[str, Any] = {
            "ordinal": ordinals,
            "file": np.zeros(size, np.int32),
            "row": ordinals + 1,
            "split": np.zeros(size, np.int8),
            "fingerprint": halves[0],
            "fingerprint_low": halves[1],
            "group": rng.integers(0, max(1, num_rows // 10), size, dtype=np.uint64),
            "label": pa.nulls(size, pa.string()),
        }
        if signing is not None:
            keys = rng.integers(0, 1 << 64, (size, signing.banding.num_bands), dtype=np.uint64)
            sketches = rng.integers(0, 256, (size, signing.num_perm), dtype=np.uint8)
            originals = slice(8, None, 20)
            for values in (keys, sketches):
                values[near] = values[originals][: len(values[near])]
                values[exact] = values[slice(18, None, 20)][: len(values[exact])]
            columns["signature"] = pa.array(pack(Signatures(keys, sketches)), pa.binary())
        yield pa.table(columns)


def _peak_bytes() -> int:
    """Peak resident memory so far; Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
