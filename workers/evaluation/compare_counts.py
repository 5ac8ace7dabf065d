"""The statistics of compare.py for metrics that are no ratio of sums: functions of counts summed over the rows."""

from collections.abc import Callable

import numpy as np

from workers.evaluation.compare import Array, Comparison, Estimate

_BLOCK_CELLS = 4_000_000


def compare_counts(
    base: Array,
    tuned: Array,
    finish: Callable[[Array], Array],
    *,
    num_resamples: int,
    confidence_level: float,
    seed: int,
) -> Comparison:
    """Compares `finish(tuned.sum(0))` with the same of `base`.

    Intervals and p-value are those of `compare`: percentiles of the paired bootstrap, and the paired randomisation
    test, exact when there are no more than `num_resamples` ways to swap.

    Args:
        base, tuned: shape [num_rows, num_counts], float64.
        finish: [..., num_counts] to [...], from sums over rows to the metric.
        num_resamples: of the bootstrap, and of the test.
        confidence_level: of the intervals, between 0 and 1.
        seed: the same one gives the same result.
    """
    generator = np.random.default_rng(seed)
    num_rows = len(base)
    draws = _blocks(
        num_resamples,
        num_rows,
        lambda size: generator.multinomial(num_rows, np.full(num_rows, 1.0 / num_rows), size).astype(np.float64),
    )
    base_draws = np.concatenate([finish(counts @ base) for counts in draws])
    tuned_draws = np.concatenate([finish(counts @ tuned) for counts in draws])
    observed = float(finish(base.sum(0))), float(finish(tuned.sum(0)))

    def estimate(value: float, values: Array) -> Estimate:
        low, high = np.quantile(values, [(1 - confidence_level) / 2, (1 + confidence_level) / 2])
        return Estimate(value, float(low), float(high))

    return Comparison(
        base=estimate(observed[0], base_draws),
        tuned=estimate(observed[1], tuned_draws),
        difference=estimate(observed[1] - observed[0], tuned_draws - base_draws),
        p_value=_p_value(base, tuned, finish, num_resamples, generator),
    )


def _p_value(
    base: Array, tuned: Array, finish: Callable[[Array], Array], num_resamples: int, generator: np.random.Generator
) -> float:
    num_rows = len(base)
    is_exact = num_rows < 63 and 2**num_rows <= num_resamples
    if is_exact:
        swaps = [(np.arange(2**num_rows)[:, None] >> np.arange(num_rows) & 1).astype(np.float64)]
    else:
        swaps = _blocks(
            num_resamples, num_rows, lambda size: generator.integers(0, 2, (size, num_rows)).astype(np.float64)
        )
    moved = [swap @ (tuned - base) for swap in swaps]
    differences = np.concatenate([finish(tuned.sum(0) - part) - finish(base.sum(0) + part) for part in moved])
    observed = abs(float(finish(tuned.sum(0)) - finish(base.sum(0))))
    num_extreme = int((np.abs(differences) >= observed - 1e-12).sum())
    return num_extreme / len(differences) if is_exact else (num_extreme + 1) / (len(differences) + 1)


def _blocks(num: int, num_rows: int, draw: Callable[[int], Array]) -> list[Array]:
    """`num` draws over the rows, in blocks of bounded size."""
    size = max(1, _BLOCK_CELLS // num_rows)
    return [draw(min(size, num - start)) for start in range(0, num, size)]
