"""Statistics of two models on the same rows: bootstrap intervals and a paired test.

Rows are resampled, not tokens, and both models see the same resample, because a row that is hard for one is hard for
the other. Nothing here knows what the numbers mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test

Array = NDArray[np.float64]

_BLOCK_CELLS = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A value and its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One metric on both models."""

    base: Estimate
    tuned: Estimate
    difference: Estimate
    """Tuned minus base."""
    p_value: float
    """Two-sided, of the hypothesis that it makes no difference which model gave which answer."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Comparison":
        """From a row of `metrics` in evaluation.json."""
        estimates = {name: Estimate(**document[name]) for name in ("base", "tuned", "difference")}
        return cls(**estimates, p_value=document["p_value"])


def compare(
    base: Array,
    tuned: Array,
    weights: Array,
    finish: Callable[[Array], Array],
    *,
    num_resamples: int,
    confidence_level: float,
    seed: int,
) -> Comparison:
    """Compares `finish(sum(tuned) / sum(weights))` with the same of `base`.

    The intervals are percentile intervals of the paired bootstrap (Efron & Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 13). The p-value is that of the paired randomisation test (Fisher, 1935; for comparing
    models: Smucker et al., CIKM 2007, doi:10.1145/1321440.1321528), exact when there are no more than
    `num_resamples` ways to swap.

    Args:
        base, tuned: shape [num_rows], float64, the rows' shares of the numerator.
        weights: shape [num_rows], float64, positive, their shares of the denominator.
        finish: elementwise, from ratio to metric.
        num_resamples: of the bootstrap, and of the test.
        confidence_level: of the intervals, between 0 and 1.
        seed: the same one gives the same result.
    """
    generator = np.random.default_rng(seed)
    base_draws, tuned_draws = _bootstrap(np.stack([base, tuned]), weights, finish, num_resamples, generator)

    def value(numerators: Array) -> float:
        return float(finish(np.asarray(numerators.sum() / weights.sum())))

    def estimate(observed: float, draws: Array) -> Estimate:
        low, high = np.quantile(draws, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
        return Estimate(observed, float(low), float(high))

    return Comparison(
        base=estimate(value(base), base_draws),
        tuned=estimate(value(tuned), tuned_draws),
        difference=estimate(value(tuned) - value(base), tuned_draws - base_draws),
        p_value=_p_value(base, tuned, weights, finish, num_resamples, generator),
    )


def _bootstrap(
    numerators: Array,
    weights: Array,
    finish: Callable[[Array], Array],
    num_resamples: int,
    generator: np.random.Generator,
) -> Array:
    """Values on resampled rows: [num_models, num_rows] -> [num_models, num_resamples]."""
    num_rows = len(weights)
    even = np.full(num_rows, 1.0 / num_rows)
    block = max(1, _BLOCK_CELLS // num_rows)
    draws = []
    for start in range(0, num_resamples, block):
        # How often each row is drawn, [block, num_rows]: sums over a resample are then one matrix product.
        counts = generator.multinomial(num_rows, even, size=min(block, num_resamples - start)).astype(np.float64)
        draws.append(finish(numerators @ counts.T / (counts @ weights)))
    return np.concatenate(draws, axis=1)


def _p_value(
    base: Array,
    tuned: Array,
    weights: Array,
    finish: Callable[[Array], Array],
    num_resamples: int,
    generator: np.random.Generator,
) -> float:
    if len(weights) == 1:
        return 1.0

    def difference(first: Array, second: Array, axis: int) -> Array:
        return finish(first.sum(axis) / weights.sum()) - finish(second.sum(axis) / weights.sum())

    test = permutation_test(
        (tuned, base),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=num_resamples,
        batch=max(1, _BLOCK_CELLS // len(weights)),
        rng=generator,
    )
    return float(test.pvalue)
