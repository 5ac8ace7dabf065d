"""text-dedup's arm of data_throughput.py: MinHash and LSH by its own command, in a venv of its own.

Arguments: Parquet file with `id` and `text`, output folder, number of processes. One JSON object on stdout: seconds and
the ids that it keeps.
"""

import json
import sys
import time
from pathlib import Path

from datasets import load_from_disk
from text_dedup.minhash import main as minhash


def main() -> None:
    """Runs it with the settings of ours: pairs of words, 128 hashes, similarity of 0.7; and its quicker hash."""
    source, out, processes = sys.argv[1:4]
    folder = Path(out)
    settings = {
        "path": "parquet",
        "data_files": source,
        "split": "train",
        "cache_dir": str(folder / "cache"),
        "output": str(folder / "kept"),
        "column": "text",
        "num_proc": processes,
        "ngram": "2",
        "min_length": "1",
        "num_perm": "128",
        "threshold": "0.7",
        "hash_func": "xxh3",
        "hash_bits": "32",
    }
    started = time.perf_counter()
    minhash([word for name, value in settings.items() for word in (f"--{name}", value)], standalone_mode=False)
    seconds = round(time.perf_counter() - started, 2)
    kept = load_from_disk(settings["output"])["id"]
    print(json.dumps({"seconds": seconds, "ids": list(kept)}))


if __name__ == "__main__":
    main()
