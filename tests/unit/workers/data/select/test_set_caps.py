"""`data.select.max_per_class` for rows of several classes."""

import numpy as np
import pytest
from scipy import sparse

from workers.data.select.set_caps import within_caps


def _stay(sets, cap, num_classes):
    full = np.zeros((len(sets), num_classes), np.int64)
    for row, one in enumerate(sets):
        full[row, one] = 1
    return np.flatnonzero(within_caps(sparse.csr_array(full), cap)).tolist()


@pytest.mark.parametrize(
    ("sets", "cap", "stay"),
    [
        ([[0], [0], [0]], 2, [0, 1]),
        ([[0], [0], [0, 1]], 1, [2]),
        ([[0], [], [0], []], 1, [0, 1, 3]),
        ([[0, 1], [0, 1], [0], [1]], 1, [0]),
        ([[0], [0, 1], [1, 2], [0, 2]], 2, [1, 2, 3]),
        ([[0], [1]], 5, [0, 1]),
        ([[], []], 1, [0, 1]),
    ],
)
def test_rows_of_rare_classes_come_first(sets, cap, stay):
    assert _stay(sets, cap, 3) == stay


def test_no_class_is_above_the_cap():
    random = np.random.default_rng(0)
    full = sparse.csr_array((random.random((500, 9)) < 0.2).astype(np.int64))
    for cap in (1, 7, 40):
        stays = within_caps(full, cap)
        assert full[stays].sum(axis=0).max() <= cap
        left_out = full[~stays].toarray() > 0
        full_classes = full[stays].sum(axis=0) == cap
        assert (left_out & full_classes).any(axis=1).all(), "for each there was a class without room"
