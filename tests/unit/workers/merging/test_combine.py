"""The formulas against the papers', written down once more, number by number."""

import pytest
import torch

from luthier.spec import MergeSpec
from workers.merging.combine import combine, concatenate, nearest

SHAPE = (7, 5)
WEIGHTS = [0.7, 1.5, -0.4]


def changes(num: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SHAPE, generator=generator) for _ in range(num)]


def spec(**section: object) -> MergeSpec:
    adapters = [{"path": "/a", "weight": weight} for weight in WEIGHTS]
    return MergeSpec.model_validate({"adapters": adapters, **section})


def elected(column: list[float], by: str) -> int:
    """The sign of most mass, or of most adapters (TIES, section 4.2)."""
    total = sum(column) if by == "total" else sum((value > 0) - (value < 0) for value in column)
    return 1 if total >= 0 else -1


def averaged(columns: list[list[float]], by: str) -> list[float]:
    """Of each place the mean of what has the elected sign; zeros were dropped and count for nothing."""
    result = []
    for column in columns:
        sign = elected(column, by)
        agreeing = [(value, weight) for value, weight in zip(column, WEIGHTS, strict=True) if value * sign > 0]
        result.append(sum(value * weight for value, weight in agreeing) / max(1, len(agreeing)))
    return result


def test_linear_is_the_weighted_sum() -> None:
    expected = sum(weight * change for weight, change in zip(WEIGHTS, changes(), strict=True))
    assert torch.allclose(combine(changes(), WEIGHTS, spec(type="linear"), "a"), expected, atol=1e-6)


@pytest.mark.parametrize("by", ["total", "frequency"])
def test_ties_trims_elects_and_averages(by: str) -> None:
    kept = int(0.4 * SHAPE[0] * SHAPE[1])
    trimmed = []
    for change in changes():
        values = change.flatten().tolist()
        least = sorted(map(abs, values), reverse=True)[kept - 1]
        trimmed.append([value if abs(value) >= least else 0.0 for value in values])
    expected = averaged([list(column) for column in zip(*trimmed, strict=True)], by)
    merged = combine(changes(), WEIGHTS, spec(type="ties", density=0.4, majority_sign=by), "a")
    assert merged.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["dare_linear", "dare_ties"])
def test_dare_drops_by_lot_and_scales_up_what_is_left(kind: str) -> None:
    merge = spec(type=kind, density=0.6)
    merged = combine(changes(), WEIGHTS, merge, "a")
    # The masks are those that ones leave: what is kept of a one is 1 / 0.6.
    masks = []
    for number in range(len(WEIGHTS)):
        only = [float(number == other) for other in range(len(WEIGHTS))]
        ones = combine([torch.ones(SHAPE)] * len(WEIGHTS), only, spec(type="dare_linear", density=0.6), "a")
        masks.append(ones)
    assert {round(value, 4) for mask in masks for value in mask.flatten().tolist()} == {0.0, round(1 / 0.6, 4)}
    kept = [(change * mask).flatten().tolist() for change, mask in zip(changes(), masks, strict=True)]
    columns = [list(column) for column in zip(*kept, strict=True)]
    if kind == "dare_ties":
        expected = averaged(columns, "total")
    else:
        expected = [sum(v * w for v, w in zip(column, WEIGHTS, strict=True)) for column in columns]
    assert merged.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_dare_keeps_the_expected_change() -> None:
    ones = [torch.ones(400, 400)]
    merged = combine(ones, [1.0], spec(type="dare_linear", density=0.1), "a")
    assert (merged > 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert merged.mean().item() == pytest.approx(1.0, abs=0.05)


def test_what_is_dropped_hangs_on_seed_and_layer_alone() -> None:
    merge = spec(type="dare_linear", density=0.5)
    first = combine(changes(), WEIGHTS, merge, "a")
    torch.manual_seed(77)
    state = torch.get_rng_state()
    assert torch.equal(first, combine(changes(), WEIGHTS, merge, "a"))
    assert torch.equal(state, torch.get_rng_state()), "the generators of others are left alone"
    assert not torch.equal(first, combine(changes(), WEIGHTS, merge, "b"))
    assert not torch.equal(first, combine(changes(), WEIGHTS, spec(type="dare_linear", density=0.5, seed=1), "a"))


def test_factors_end_to_end_are_the_sum_of_the_products() -> None:
    generator = torch.Generator().manual_seed(2)
    factors = [(torch.randn(r, 5, generator=generator), torch.randn(7, r, generator=generator)) for r in (1, 3)]
    down, up = concatenate(factors)
    assert down.shape == (4, 5)
    assert torch.allclose(up @ down, sum(two @ one for one, two in factors), atol=1e-6)


def test_the_nearest_product_is_exact_at_full_rank_and_best_below() -> None:
    change = changes()[0]
    down, up = nearest(change, 5)
    assert torch.allclose(up @ down, change, atol=1e-5)
    down, up = nearest(change, 2)
    singular = torch.linalg.svdvals(change)
    assert (change - up @ down).norm().item() == pytest.approx(singular[2:].norm().item(), rel=1e-5)
