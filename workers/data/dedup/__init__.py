"""Which rows are copies of one another or of a benchmark's, and what becomes of them.

`duplicate_steps` belong to the pass that reads rows: they sign each and drop what overlaps with a benchmark. `decide`
comes after it and looks at all rows together.
"""

from workers.data.dedup.benchmark import Benchmark, benchmark_files, find_benchmark
from workers.data.dedup.decide import decide
from workers.data.dedup.decisions import REASONS, Decisions
from workers.data.dedup.inspect import write_clusters
from workers.data.dedup.steps import duplicate_steps

__all__ = [
    "REASONS",
    "Benchmark",
    "Decisions",
    "benchmark_files",
    "decide",
    "duplicate_steps",
    "find_benchmark",
    "write_clusters",
]
