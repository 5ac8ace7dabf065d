"""Lengths in counters of fixed size: right to 2 %, whatever comes."""

import numpy as np
import pytest

from workers.data.quality.lengths import Lengths


def test_short_lengths_are_exact_and_long_ones_within_a_few_percent() -> None:
    values = np.random.default_rng(0).lognormal(6, 1.5, 20_000).astype(np.int64)
    lengths = Lengths()
    for batch in np.array_split(values, 7):
        lengths.add(batch)
    document = lengths.document()
    assert (document["num_values"], document["min"], document["max"]) == (20_000, values.min(), values.max())
    assert document["mean"] == pytest.approx(values.mean())
    for name, share in (("p5", 0.05), ("p50", 0.5), ("p99", 0.99)):
        assert document[name] == pytest.approx(np.quantile(values, share), rel=0.03)
    histogram = document["histogram"]
    assert sum(histogram["counts"]) == 20_000
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    counted, _ = np.histogram(values, histogram["edges"])
    assert counted.tolist() == histogram["counts"]


@pytest.mark.parametrize("value", [0, 3, 1 << 33])
def test_one_length_is_one_bin(value: int) -> None:
    lengths = Lengths()
    lengths.add(np.array([value] * 3))
    assert lengths.document()["histogram"] == {"edges": [value, value + 1], "counts": [3]}


def test_nothing_has_no_figures() -> None:
    lengths = Lengths()
    lengths.add(np.zeros(0, np.int64))
    assert lengths.document() == {"num_values": 0}
    assert lengths.outlier_share == 0.0


def test_far_out_lengths_are_a_share() -> None:
    lengths = Lengths()
    lengths.add(np.array([100] * 50 + [150] * 48 + [1, 90_000]))
    assert lengths.outlier_share == pytest.approx(0.02)
