"""When an exported classifier says the same as the trained one."""

import math

import pytest
import torch

from workers.export.classifier import agreement_of
from workers.training.classes import Classes

TRAINED = [[-1.0, 2.0], [-1.0, -2.0]]


@pytest.mark.parametrize(
    ("threshold", "exported", "agreement"),
    [
        (None, [[-3.0, 0.1], [-1.0, -1.1]], 1.0),
        (None, [[-3.0, 0.1], [-1.1, -1.0]], 0.5),
        (0.5, [[-3.0, 0.1], [-1.1, -1.0]], 1.0),
        (0.5, [[0.1, 2.0], [-1.0, -2.0]], 0.5),
        (0.5, [[-1.0, 2.0], [-1.0, math.nan]], 0.5),
        (None, [[-1.0, 2.0], [-1.0, -math.inf]], 0.5),
    ],
)
def test_rows_agree_by_their_likeliest_class_or_by_all_at_the_threshold(threshold, exported, agreement):
    classes = Classes(("a", "b"), threshold)
    assert agreement_of(classes, torch.tensor(TRAINED), torch.tensor(exported)) == agreement
