"""datatrove's arm of data_throughput.py: its four steps of MinHash deduplication, in a venv of its own.

Arguments: Parquet file with `id` and `text`, output folder, number of processes. One JSON object on stdout: seconds and
the ids that it keeps.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from loguru import logger

# 16 bands of 8: half of the pairs with a similarity of 0.7 are found.
CONFIG = MinhashConfig(n_grams=2, num_buckets=16, hashes_per_bucket=8)


def main() -> None:
    """Runs the steps one after the other."""
    source, out, processes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    logger.remove()
    (out / "input").mkdir(parents=True)
    _cut(source, out / "input", processes)
    started = time.perf_counter()
    signatures, buckets, doomed = (str(out / name) for name in ("signatures", "buckets", "doomed"))
    reader = ParquetReader(str(out / "input"), text_key="text", id_key="id")
    steps = [
        (processes, [reader, MinhashDedupSignature(signatures, config=CONFIG)]),
        (CONFIG.num_buckets, [MinhashDedupBuckets(signatures, buckets, config=CONFIG)]),
        (1, [MinhashDedupCluster(buckets, doomed, config=CONFIG)]),
        (processes, [reader, MinhashDedupFilter(doomed), ParquetWriter(str(out / "kept"))]),
    ]
    for number, (tasks, pipeline) in enumerate(steps):
        logs = str(out / f"logs-{number}")
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=processes, logging_dir=logs).run()
    seconds = round(time.perf_counter() - started, 2)
    kept = [
        int(number) for file in sorted((out / "kept").glob("*")) for number in pq.read_table(file)["id"].to_pylist()
    ]
    print(json.dumps({"seconds": seconds, "ids": kept}))


def _cut(source: Path, folder: Path, number: int) -> None:
    """One file per task, because a task reads whole files; not timed."""
    table = pq.read_table(source, columns=["id", "text"])
    size = -(-table.num_rows // number)
    for part in range(number):
        pq.write_table(table.slice(part * size, size), folder / f"{part}.parquet")


if __name__ == "__main__":
    main()
