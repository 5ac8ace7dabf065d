"""Training rows of several sources as one set: how often each is drawn, and the rows in the order that comes of it.

Each place in the set is given to a source at random, to the same one as `datasets.interleave_datasets` would give it
for the same probabilities, seed and stopping strategy. Which rows a source puts there is not left to their order: of a
source that is not used up it is a random part of them, of one that is repeated all of them and then a random part. They
are read once more for every time that they are used, batch by batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet as pq

from luthier.spec import DataSpec, MixingSpec
from workers.data.parts import Part
from workers.failures import DataError

_HUGE_WEIGHT = 1e100
_BLOCK = 1000
"""Draws at a time; as many as `datasets` takes, or the generator would give others."""
_BATCH_ROWS = 1024
_MAX_GROWTH = 100
"""A mixture that is more than so many times its rows is a mistake."""


@dataclass(frozen=True)
class Mixture:
    """Which source each place of the mixed set is from."""

    probabilities: list[float]
    """Of each source, to be drawn."""
    sizes: list[int]
    """Rows that each source has."""
    draws: npt.NDArray[np.int64]
    """[rows of the set]: index of a source."""
    seed: int

    @cached_property
    def counts(self) -> list[int]:
        """Rows of the set by source."""
        return [int(count) for count in np.bincount(self.draws, minlength=len(self.sizes))]

    def chosen(self, source: int, round_: int) -> npt.NDArray[np.bool_]:
        """[rows of the source]: which of them are used in the time `round_`, counted from 0, that they are read."""
        size = self.sizes[source]
        wanted = min(size, self.counts[source] - round_ * size)
        rows = np.random.default_rng((self.seed, source)).permutation(size)
        mask = np.zeros(size, np.bool_)
        mask[rows[: max(0, wanted)]] = True
        return mask


def strategy_of(spec: DataSpec) -> str:
    """The mixing strategy of a job, with `auto` decided."""
    if spec.mixing.strategy != "auto":
        return spec.mixing.strategy
    has_weight = any(source.weight is not None for source in spec.sources or [])
    return "weighted" if has_weight else "concatenate"


def mix(spec: DataSpec, parts: Sequence[Part], sizes: Sequence[int]) -> Mixture:
    """Draws a source for each place; `sizes` are the training rows of each part that are left.

    Raises:
        DataError: rows would be repeated beyond reason.
    """
    weights = [part.weight if size else 0.0 for part, size in zip(parts, sizes, strict=True)]
    probabilities = probabilities_of(sizes, weights, strategy_of(spec), spec.mixing.temperature)
    if spec.mixing.stopping_strategy == "all_exhausted":
        _refuse_growth(parts, sizes, probabilities)
    draws = draw(sizes, probabilities, spec.mixing, spec.seed)
    return Mixture(probabilities, list(sizes), draws, spec.seed)


def probabilities_of(sizes: Sequence[int], weights: Sequence[float], strategy: str, temperature: float) -> list[float]:
    """Of each source, to be drawn: weight x rows^(1/T), over their sum; T is 1 when proportional, infinite when
    weighted."""
    exponent = {"weighted": 0.0, "proportional": 1.0, "temperature": 1 / temperature}[strategy]
    # Their sum may be beyond all numbers; where it is not, nothing is changed by a bit.
    scale = max(weights) if max(weights) > _HUGE_WEIGHT else 1.0
    rates = np.array(weights, np.float64) / scale * np.array(sizes, np.float64) ** exponent
    return [float(rate) for rate in rates / rates.sum()]


def draw(sizes: Sequence[int], probabilities: Sequence[float], mixing: MixingSpec, seed: int) -> npt.NDArray[np.int64]:
    """The source of each place, until one source, or every one that can be drawn, has been drawn as often as it has
    rows."""
    rng = np.random.default_rng(seed)
    wanted = [source for source, probability in enumerate(probabilities) if probability > 0]
    is_over = any if mixing.stopping_strategy == "first_exhausted" else all
    counts = np.zeros(len(sizes), np.int64)
    blocks = []
    while not is_over(counts[source] >= sizes[source] for source in wanted):
        blocks.append(rng.choice(len(sizes), size=_BLOCK, p=probabilities))
        counts += np.bincount(blocks[-1], minlength=len(sizes))
    draws = np.concatenate(blocks)
    lasts = [np.flatnonzero(draws == source)[sizes[source] - 1] for source in wanted if counts[source] >= sizes[source]]
    last = min(lasts) if mixing.stopping_strategy == "first_exhausted" else max(lasts)
    return draws[: last + 1]


def mixed(mixture: Mixture, files: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of the set in their order; `files` are Parquet files, one per source."""
    sources = [_Rows(mixture, number, file) for number, file in enumerate(files)]
    for start in range(0, len(mixture.draws), _BATCH_ROWS):
        draws = mixture.draws[start : start + _BATCH_ROWS]
        counts = np.bincount(draws, minlength=len(sources))
        tables = [source.take(int(count)) for source, count in zip(sources, counts, strict=True) if count]
        # The rows lie source after source; this is where the row of each place lies.
        places = np.argsort(np.argsort(draws, kind="stable"), kind="stable")
        yield pa.concat_tables(tables).take(pa.array(places))


class _Rows:
    """The rows of one source as often as they are used, read on as they are asked for."""

    def __init__(self, mixture: Mixture, source: int, file: Path) -> None:
        self._batches = _used(mixture, source, file)
        self._rest: pa.Table | None = None

    def take(self, number: int) -> pa.Table:
        """The next rows, of which there are as many."""
        tables = [] if self._rest is None else [self._rest]
        while sum(table.num_rows for table in tables) < number:
            tables.append(next(self._batches))
        table = pa.concat_tables(tables)
        self._rest = table.slice(number)
        return table.slice(0, number)


def _used(mixture: Mixture, source: int, file: Path) -> Iterator[pa.Table]:
    size = mixture.sizes[source]
    for round_ in range(-(-mixture.counts[source] // size)):
        chosen = mixture.chosen(source, round_)
        start = 0
        with pq.ParquetFile(file) as rows:
            for batch in rows.iter_batches(_BATCH_ROWS):
                mask = chosen[start : start + batch.num_rows]
                start += batch.num_rows
                yield pa.Table.from_batches([batch]).filter(pa.array(mask))


def _refuse_growth(parts: Sequence[Part], sizes: Sequence[int], probabilities: Sequence[float]) -> None:
    """
    Raises:
        DataError: a source that is hardly ever drawn makes the set enormous.
    """
    needed = [
        size / probability if probability else 0.0 for size, probability in zip(sizes, probabilities, strict=True)
    ]
    slowest = int(np.argmax(needed))
    if needed[slowest] > _MAX_GROWTH * sum(sizes):
        raise DataError(
            f"data.mixing: until all {sizes[slowest]} rows of source {parts[slowest].name!r} are drawn, the mixture "
            f"has about {needed[slowest]:,.0f} rows, more than {_MAX_GROWTH} times those of all sources; raise its "
            "weight, lower its max_samples, or set data.mixing.stopping_strategy: first_exhausted"
        )
