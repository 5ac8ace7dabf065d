"""Iterative stratification: each split has its share of every class, where rows have several."""

import numpy as np
import pytest
from scipy import sparse

from workers.data.dataset import SPLITS
from workers.data.splits.splitting import Drawable, draw
from workers.data.splits.stratify_sets import choose_by_classes

FRACTIONS = {"test": 0.1, "validation": 0.1}


def _matrix(sets):
    """[rows, classes + 1] as `LabelSets.strata` has them, the last column for rows of no class."""
    num = 1 + max(max(one, default=-1) for one in sets)
    full = np.zeros((len(sets), num + 1), np.int64)
    for row, one in enumerate(sets):
        full[row, list(one) or [num]] = 1
    return sparse.csr_array(full)


def _skewed(num_rows, seed):
    """Twelve classes, each rarer than the one before, of which some come together."""
    random = np.random.default_rng(seed)
    shares = 0.5 * 0.6 ** np.arange(12)
    full = random.random((num_rows, 12)) < shares
    full[:, 7] |= full[:, 8]
    return [np.flatnonzero(row).tolist() for row in full]


def _draw(sets, seed=0, *, stratified=True, fractions=FRACTIONS):
    keys = np.random.default_rng(seed).permutation(len(sets)).astype(np.uint64)
    return draw(Drawable(keys, classes=_matrix(sets) if stratified else None), fractions)


def _away(sets, split):
    """[splits, classes]: rows that each split has more or fewer of each class than its share."""
    full = _matrix(sets).toarray()
    rows = [full[split == SPLITS.index(name)].sum(0) - fraction * full.sum(0) for name, fraction in FRACTIONS.items()]
    return np.abs(rows)


@pytest.mark.parametrize("seed", range(5))
def test_no_class_is_far_from_its_share(seed):
    sets = _skewed(2000, seed)
    split = _draw(sets, seed)
    assert [int((split == SPLITS.index(name)).sum()) for name in SPLITS] == [1600, 200, 200]
    away = _away(sets, split)
    assert away[:, 5:12].max() <= 2, "rare classes come first"
    assert away.max() <= 12, "of 50 to 1,000 rows; sizes are exact, so the most frequent ones make up for it"


def test_classes_are_nearer_to_their_shares_than_by_chance():
    drawn = [(sets := _skewed(2000, seed), _draw(sets, seed), _draw(sets, seed, stratified=False)) for seed in range(5)]
    stratified = np.mean([_away(sets, split) for sets, split, _ in drawn])
    assert stratified < 0.5 * np.mean([_away(sets, split) for sets, _, split in drawn])


def test_rows_of_one_class_each_are_split_to_the_row():
    sets = [[row % 4] for row in range(400)] + [[] for _ in range(100)]
    split = _draw(sets)
    full = _matrix(sets).toarray()
    for name in FRACTIONS:
        assert full[split == SPLITS.index(name)].sum(0).tolist() == [10] * 5


def test_many_rare_classes_do_not_leave_a_split_empty():
    split = _draw([[row // 3] for row in range(600)], fractions={"test": 0.1})
    assert (split == SPLITS.index("test")).sum() == 60
    of_class = np.bincount(np.arange(600)[split == SPLITS.index("test")] // 3)
    assert of_class.max() <= 2, "of three rows at least one is trained on"


def test_the_last_row_of_a_class_stays_in_training():
    sets = [[0, row] for row in range(1, 30)] + [[0]] * 5
    split = _draw(sets, fractions={"test": 0.5})
    assert set(np.flatnonzero(split == SPLITS.index("test"))) <= set(range(29, 34))


def test_the_order_of_the_rows_does_not_matter():
    sets, keys = _skewed(300, 1), np.random.default_rng(1).permutation(300).astype(np.uint64)
    order = np.random.default_rng(2).permutation(300)
    split = draw(Drawable(keys, classes=_matrix(sets)), FRACTIONS)
    again = draw(Drawable(keys[order], classes=_matrix([sets[row] for row in order])), FRACTIONS)
    assert again.tolist() == split[order].tolist()


def test_rows_that_belong_together_are_not_torn_apart():
    sets = _skewed(400, 3)
    keys = np.repeat(np.random.default_rng(3).permutation(100), 4).astype(np.uint64)
    split = draw(Drawable(keys, classes=_matrix(sets)), FRACTIONS)
    assert all(len(set(split[keys == key])) == 1 for key in range(100))
    assert (split == SPLITS.index("test")).sum() == 40


def test_a_choice_is_never_larger_than_asked_for():
    sets = _skewed(200, 4)
    weights = np.random.default_rng(4).integers(1, 9, 200)
    for size in (1, 10, 100, int(weights.sum())):
        chosen = choose_by_classes(_matrix(sets), weights, size)
        assert weights[chosen].sum() <= size
