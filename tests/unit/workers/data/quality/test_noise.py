"""Wrong labels among right ones are found by their neighbours."""

import numpy as np
import pytest

from workers.data.quality.noise import suspects_of

TOPICS = [
    ["invoice", "payment", "refund", "bank", "amount", "due", "card", "charge", "account", "billing"],
    ["screen", "keyboard", "printer", "driver", "cable", "install", "update", "crash", "device", "battery"],
    ["parcel", "delivery", "courier", "address", "tracking", "late", "shipment", "box", "warehouse", "route"],
]
FILLER = ["the", "my", "is", "not", "and", "it", "was", "for", "please", "can", "you", "about", "today", "again"]


def _texts(num: int, seed: int) -> tuple[list[str], np.ndarray]:
    random = np.random.default_rng(seed)
    classes = random.integers(0, len(TOPICS), num).astype(np.int32)
    return [" ".join([*random.choice(TOPICS[name], 5), *random.choice(FILLER, 6)]) for name in classes], classes


def test_flipped_labels_are_found_and_few_others() -> None:
    texts, true = _texts(600, 0)
    given = true.copy()
    flipped = np.random.default_rng(1).choice(600, 30, replace=False)
    given[flipped] = (given[flipped] + 1) % 3
    suspects = suspects_of(texts, given, 3)
    found = {suspect.place for suspect in suspects}
    assert len(found & set(flipped.tolist())) >= 22, "recall below 73 %"
    assert len(found - set(flipped.tolist())) <= 1, "precision below 95 %"
    assert all(suspect.likely == true[suspect.place] for suspect in suspects[:20])


def test_right_labels_raise_hardly_a_suspicion() -> None:
    texts, true = _texts(300, 2)
    assert len(suspects_of(texts, true, 3)) <= 1


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        ([], []),
        (["a b"] * 5, [0, 1, 0, 1, 0]),
        ([f"word{i} other{i}" for i in range(30)], [0, 1] * 15),
        (["same words here"] * 30, [0] * 30),
        (["", " ", "..."] * 10, [0, 1, 0] * 10),
    ],
)
def test_what_tells_nothing_raises_no_suspicion(texts: list[str], classes: list[int]) -> None:
    assert suspects_of(texts, np.array(classes, np.int32), 2) == []
