"""Duplicates, leaks and the seeded split, through the pipeline's artifact."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workers.data.dataset import SPLITS, load_split
from workers.data.lineage.fingerprint import fingerprint
from workers.data.row import Notes


def _rows(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"question {i}", "completion": f"answer {i}"} for i in range(count)]


def _texts(folder: Path) -> dict[str, list[str]]:
    return {name: [example.prompt[-1]["content"] for example in load_split(folder, name)] for name in SPLITS}


def test_fingerprint_sees_words_and_roles_but_not_white_space() -> None:
    row = [{"role": "user", "content": "a  b\n"}, {"role": "assistant", "content": "c"}]
    same = [{"role": "user", "content": " a b"}, {"role": "assistant", "content": "c "}]
    shifted = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b c"}]
    assert fingerprint(row) == fingerprint(same) != fingerprint(shifted)
    assert fingerprint("a b") != fingerprint("ab")
    assert fingerprint(row, b"1") != fingerprint(row, b"2")
    assert len(fingerprint(row)) == 16


def test_pairs_and_labels_are_part_of_the_fingerprint() -> None:
    row = "a b"
    of = [Notes(), Notes(rejected="c"), Notes(rejected="d"), Notes(label="desirable"), Notes(label="undesirable")]
    assert len({fingerprint(row, b"", notes) for notes in of}) == len(of)
    assert fingerprint(row, b"", Notes(rejected="c  d")) == fingerprint(row, b"", Notes(rejected="c d"))
    assert fingerprint(row, b"", Notes(weights=[0.5])) == fingerprint(row)


def test_equal_rows_are_dropped_and_the_first_one_stays(
    write_rows: Callable[..., Path], run: Callable[..., Any]
) -> None:
    rows = [*_rows(3), {"prompt": " question   1", "completion": "answer\n1"}, _rows(1)[0]]
    folder, outcome = run(write_rows(rows), validation_fraction=0.0, test_fraction=0.0)
    assert [example.row for example in load_split(folder, "train")] == [1, 2, 3]
    assert outcome.ledger.counts == {"duplicate": 2}
    first = outcome.ledger.first["duplicate"]
    assert [(fault.row, fault.detail) for fault in first] == [
        (4, "same text as rows.jsonl row 2"),
        (5, "same text as rows.jsonl row 1"),
    ]


def test_equal_rows_stay_when_asked_but_never_on_two_sides(
    write_rows: Callable[..., Path], run: Callable[..., Any]
) -> None:
    folder, outcome = run(write_rows(_rows(40) * 3), deduplicate=False, validation_fraction=0.3, test_fraction=0.3)
    texts = _texts(folder)
    assert sum(map(len, texts.values())) == 120
    assert {name: len(values) for name, values in texts.items()} == {"train": 48, "validation": 36, "test": 36}
    assert not set(texts["train"]) & set(texts["validation"] + texts["test"])
    assert not set(texts["validation"]) & set(texts["test"])
    assert not outcome.ledger.counts


@pytest.mark.parametrize("deduplicate", [True, False])
def test_row_of_a_later_split_leaves_the_earlier_ones(
    write_rows: Callable[..., Path], run: Callable[..., Any], deduplicate: bool
) -> None:
    rows = _rows(8)
    folder, outcome = run(
        write_rows(rows),
        validation_path=str(write_rows([rows[0], rows[1], {"prompt": "new", "completion": "v"}], "validation.jsonl")),
        test_path=str(write_rows([rows[1], {"prompt": "question  2", "completion": "answer 2"}], "test.jsonl")),
        deduplicate=deduplicate,
    )
    assert _texts(folder) == {
        "train": [f"question {i}" for i in range(3, 8)],
        "validation": ["question 0", "new"],
        "test": ["question 1", "question  2"],
    }
    assert outcome.ledger.counts == {"also in validation or test": 4}


def test_split_depends_on_the_seed_and_not_on_the_order_of_the_rows(
    write_rows: Callable[..., Path], run: Callable[..., Any]
) -> None:
    rows = _rows(50)
    shuffled = random.Random(1).sample(rows, len(rows))
    first, again, other = (
        {name: sorted(values) for name, values in _texts(run(path, seed=seed)[0]).items()}
        for path, seed in [(write_rows(rows), 3), (write_rows(shuffled, "b.jsonl"), 3), (write_rows(rows), 4)]
    )
    assert first == again != other
    assert [len(first[name]) for name in SPLITS] == [40, 5, 5]


def test_added_rows_move_few_others(write_rows: Callable[..., Path], run: Callable[..., Any]) -> None:
    before, after = (_texts(run(write_rows(_rows(count)))[0]) for count in (200, 210))
    moved = [text for name in SPLITS for text in before[name] if text not in after[name]]
    assert len(moved) <= 6


@pytest.mark.parametrize(
    ("count", "validation", "test", "sizes"),
    [
        (1, 0.1, 0.1, [1, 0, 0]),
        (2, 0.1, 0.1, [1, 0, 1]),
        (3, 0.1, 0.1, [1, 1, 1]),
        (3, 0.45, 0.5, [1, 1, 1]),
        (4, 0.0, 0.1, [3, 0, 1]),
        (10, 0.0, 0.0, [10, 0, 0]),
        (20, 0.25, 0.5, [5, 5, 10]),
    ],
)
def test_split_sizes(
    write_rows: Callable[..., Path],
    run: Callable[..., Any],
    count: int,
    validation: float,
    test: float,
    sizes: list[int],
) -> None:
    folder, _ = run(write_rows(_rows(count)), validation_fraction=validation, test_fraction=test)
    assert [len(load_split(folder, name)) for name in SPLITS] == sizes
