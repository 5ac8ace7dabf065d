"""The last steps of every row: its signature, and the look into the benchmarks."""

from luthier.spec import DataSpec
from workers.data.dedup.benchmark import Benchmark
from workers.data.dedup.contamination import Decontaminator
from workers.data.dedup.signature import Signer, signing_of
from workers.data.steps import RowStep


def duplicate_steps(spec: DataSpec, benchmark: Benchmark | None) -> list[RowStep]:
    """Those that a job asks for. They come last, because rows are compared as they will be trained on."""
    signing = signing_of(spec)
    steps: list[RowStep] = []
    if signing is not None:
        steps.append(Signer(signing))
    if benchmark is not None:
        steps.append(Decontaminator(benchmark))
    return steps
