"""Our arm of data_throughput.py: `preprocess`, and the plan of packs. One JSON object on stdout.

Arguments: folder of the base model, file of the rows, output folder, `near` (cleaned, near duplicates too) or `exact`
(as they are), tokens of a pack.
"""

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np

from luthier.spec import DataSpec
from workers.data.dataset import SPLITS, load_split
from workers.data.pipeline import preprocess
from workers.data.report import write_report
from workers.data.report.local import LogReport
from workers.models import load_tokenizer
from workers.training.packing import pack


def main() -> None:
    """Prints seconds by step and the number of rows kept; leaves `kept.json` in the output folder."""
    folder, rows, output, how, capacity = sys.argv[1:6]
    logging.basicConfig(level=logging.WARNING)
    tokenizer = load_tokenizer(Path(folder))
    out = Path(output)
    duplicates = {"near": {}} if how == "near" else {}
    spec = DataSpec.model_validate(
        {
            "path": rows,
            "max_length": 4096,
            "on_invalid_row": "drop",
            "clean": {} if how == "near" else None,
            "deduplicate": duplicates,
            "validation_fraction": 0.05,
            "test_fraction": 0.05,
        }
    )
    started = time.perf_counter()
    outcome = preprocess(spec, tokenizer, out, lambda path, key: None, LogReport())
    write_report(outcome, spec, tokenizer, out)
    made = time.perf_counter()
    lengths = [len(row.input_ids) for row in load_split(out, "train")]
    packs = pack(lengths, int(capacity), np.random.default_rng(0).permutation(len(lengths)).tolist())
    packed = time.perf_counter()
    kept = {}
    for name in SPLITS:
        for row in load_split(out, name):
            kept[row.row] = [row.input_ids.tolist(), row.trainable.astype(int).tolist()] if how == "exact" else None
    (out.parent / f"{out.name}-kept.json").write_text(json.dumps(kept))
    seconds = {"preprocess": round(made - started, 2), "pack": round(packed - made, 2)}
    print(
        json.dumps({"seconds": seconds, "num_rows": outcome.num_rows, "num_kept": len(kept), "num_packs": len(packs)})
    )


if __name__ == "__main__":
    main()
