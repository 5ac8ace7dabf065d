"""The sample: distinct rows, the same ones in whatever order, never more than twice its size in memory."""

import numpy as np
import pyarrow as pa

from workers.data.quality.sample import Sample

SIZE = 50


def _sampled(fingerprints: np.ndarray, batch_rows: int) -> set[str]:
    sample = Sample(SIZE)
    for start in range(0, len(fingerprints), batch_rows):
        batch = fingerprints[start : start + batch_rows]
        sample.add(start, pa.array(batch), [f"text {value}" for value in batch])
    return {row.text for row in sample.rows}


def test_the_smallest_fingerprints_in_any_order_and_any_batches() -> None:
    random = np.random.default_rng(1)
    fingerprints = random.integers(0, 1 << 63, 5000, np.uint64) * np.uint64(2)
    expected = {f"text {value}" for value in np.sort(fingerprints)[:SIZE]}
    assert _sampled(fingerprints, 64) == expected
    assert _sampled(random.permutation(np.repeat(fingerprints, 3)), 1000) == expected


def test_few_rows_are_all_there_in_their_order_and_cut() -> None:
    sample = Sample(SIZE)
    sample.add(10, pa.array([9, 3, 9], pa.uint64()), ["a" * 10_000, "b", "again"])
    assert [(row.ordinal, len(row.text)) for row in sample.rows] == [(10, 4000), (11, 1)]
