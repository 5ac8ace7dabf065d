"""Intervals and p-values where theory says what they have to be."""

import numpy as np
import pytest
from scipy import stats

from workers.evaluation.compare import Comparison, compare


def _means(base: np.ndarray, tuned: np.ndarray, *, num_resamples: int = 4000, seed: int = 0) -> Comparison:
    weights = np.ones(len(base))
    return compare(base, tuned, weights, np.array, num_resamples=num_resamples, confidence_level=0.95, seed=seed)


def test_intervals_of_means_agree_with_the_normal_ones() -> None:
    random = np.random.default_rng(1)
    base = random.normal(3.0, 2.0, 400)
    comparison = _means(base, base + random.normal(0.5, 1.0, 400))
    half_width = 1.96 * base.std(ddof=1) / 20
    assert comparison.base.value == pytest.approx(base.mean())
    assert comparison.base.low == pytest.approx(base.mean() - half_width, abs=0.02)
    assert comparison.base.high == pytest.approx(base.mean() + half_width, abs=0.02)


def test_pairing_makes_the_difference_sharper_than_its_parts() -> None:
    random = np.random.default_rng(2)
    difficulty = random.normal(0.0, 5.0, 200)
    comparison = _means(difficulty, difficulty + random.normal(0.3, 0.5, 200))
    assert comparison.difference.high - comparison.difference.low < 0.2
    assert comparison.base.high - comparison.base.low > 1.0
    assert comparison.difference.low > 0


def test_the_p_value_agrees_with_the_paired_t_test() -> None:
    random = np.random.default_rng(3)
    base = random.normal(0.0, 1.0, 60)
    tuned = base + random.normal(0.25, 1.0, 60)
    assert _means(base, tuned).p_value == pytest.approx(stats.ttest_rel(tuned, base).pvalue, abs=0.02)


def test_the_p_value_is_exact_for_few_rows() -> None:
    assert _means(np.zeros(5), np.ones(5)).p_value == pytest.approx(2 / 2**5)


def test_the_interval_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    hits = 0
    for trial in range(200):
        base = random.binomial(1, 0.3, 100).astype(float)
        tuned = random.binomial(1, 0.5, 100).astype(float)
        interval = _means(base, tuned, num_resamples=400, seed=trial).difference
        hits += interval.low <= 0.2 <= interval.high
    assert 180 <= hits <= 199


def test_equal_models_differ_by_nothing() -> None:
    values = np.array([1.0, 0.0, 1.0])
    comparison = _means(values, values)
    assert (comparison.difference.low, comparison.difference.high) == (0.0, 0.0)
    assert comparison.p_value == 1.0


def test_one_row_has_intervals_without_width() -> None:
    comparison = _means(np.array([0.0]), np.array([1.0]))
    assert (comparison.tuned.low, comparison.tuned.high) == (1.0, 1.0)
    assert comparison.p_value == 1.0


def test_weights_make_ratios_of_sums() -> None:
    base, weights = np.array([2.0, 30.0]), np.array([1.0, 9.0])
    comparison = compare(base, base / 2, weights, np.exp, num_resamples=100, confidence_level=0.9, seed=0)
    assert comparison.base.value == pytest.approx(np.exp(3.2))
    assert comparison.tuned.value == pytest.approx(np.exp(1.6))


def test_the_same_seed_gives_the_same_figures_in_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    base, tuned = random.random(50), random.random(50)
    first = _means(base, tuned)
    assert _means(base, tuned) == first
    monkeypatch.setattr("workers.evaluation.compare._BLOCK_CELLS", 700)
    in_small_blocks = _means(base, tuned)
    assert in_small_blocks.difference == first.difference
