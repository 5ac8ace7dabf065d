"""Every class that has rows is trained on: what the draw took comes back, and what cannot come back is refused."""

from collections import Counter

import numpy as np
import pytest
from scipy import sparse

from luthier.spec import ClassificationSpec, DataSpec
from workers.data.dataset import SPLITS, load_split
from workers.data.report import write_report
from workers.data.splits.every_class import keep_every_class
from workers.failures import DataError

ONE = ClassificationSpec(type="classification")
SETS = ClassificationSpec(type="classification", multi_label=True)
NAMED = ClassificationSpec(type="classification", labels=["a", "b", "rare", "late"])
SHARES = {"validation_fraction": 0.2, "test_fraction": 0.2}
TRAIN = SPLITS.index("train")


def _keep(split, keys, codes, part=None):
    codes = np.array(codes)
    split, keys = np.array(split, np.int8), np.array(keys, np.uint64)
    table = sparse.csr_array((np.ones(len(codes), np.int64), (np.arange(len(codes)), codes)))
    part = np.zeros(len(codes), np.int32) if part is None else np.array(part, np.int32)
    return split, keep_every_class(split, keys, part, table)


@pytest.mark.parametrize(
    ("split", "keys", "codes", "expected"),
    [
        # All are there: nothing moves.
        ([0, 0, 1, 2], [1, 2, 3, 4], [0, 1, 0, 1], [0, 0, 1, 2]),
        # Of two units of a class the one comes back that was drawn last, and the next one of the others goes.
        ([0, 0, 0, 1, 1], [5, 6, 7, 1, 2], [0, 0, 0, 1, 1], [1, 0, 0, 1, 0]),
        # The smaller unit comes back; nothing as small can be spared.
        ([0, 0, 0, 0, 1, 2, 2], [5, 5, 6, 6, 1, 2, 2], [0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 2, 2]),
        # The last unit of a class stays.
        ([0, 0, 1], [5, 6, 1], [0, 1, 2], [0, 0, 0]),
        # A unit of two classes that are both lacking comes back once.
        ([0, 0, 0, 1, 1], [5, 6, 7, 1, 1], [0, 0, 0, 1, 2], [1, 0, 0, 0, 0]),
    ],
)
def test_one_unit_of_each_class_comes_back_and_another_takes_its_place(split, keys, codes, expected):
    found, moved = _keep(split, keys, codes)
    assert found.tolist() == expected
    assert bool(moved) == (split != expected)


def test_a_place_is_taken_by_rows_of_the_same_source():
    found, moved = _keep([0, 0, 0, 0, 2], [1, 2, 6, 7, 5], [0, 0, 0, 0, 1], part=[0, 0, 1, 1, 1])
    assert found.tolist() == [0, 0, 2, 0, 0]
    assert [(one.label, one.row, SPLITS[one.split]) for one in moved] == [(1, 4, "test")]


@pytest.mark.parametrize("seed", range(10))
def test_what_belongs_together_stays_so_and_every_class_is_trained_on(seed):
    rng = np.random.default_rng(seed)
    keys, codes = rng.integers(0, 60, 200), np.minimum(rng.geometric(0.15, 200), 25)
    split = rng.integers(0, 3, 60)[keys]
    found, moved = _keep(split, keys, codes)
    assert set(codes[found == TRAIN]) == set(codes)
    assert all(len(set(found[keys == key])) == 1 for key in keys)
    assert moved or (found == split).all()


def _rows(*rare):
    rows = [{"text": f"text {n}", "label": "ab"[n % 2], "who": n % 20} for n in range(40)]
    return rows + [{"text": f"odd {label}", "label": label, "who": 99} for label in rare]


def _labels(folder, split):
    return Counter(example.label for example in load_split(folder, split))


@pytest.mark.parametrize("split", [None, {"group_by": "who"}, {"stratify_by": "who"}])
def test_a_rare_class_is_trained_on_whatever_the_seed(write_rows, run, split):
    for seed in range(4):
        folder, outcome = run(write_rows(_rows("rare", "odd")), ONE, split=split, seed=seed, **SHARES)
        assert _labels(folder, "train").keys() == {"a", "b", "rare", "odd"}
        assert sum(_labels(folder, name).total() for name in SPLITS) == outcome.num_rows == 42


def test_what_came_back_is_told_with_its_place_and_splits_keep_their_sizes(tmp_path, write_rows, run, tokenizer):
    told = []
    for seed in range(8):
        folder, outcome = run(write_rows(_rows("rare")), ONE, seed=seed, **SHARES)
        assert [len(load_split(folder, name)) for name in SPLITS] == [25, 8, 8]
        told.append(outcome.came_back)
    assert any(told)
    assert not all(told)
    assert {row for rows in told for row in rows} <= {
        f"'rare' (rows.jsonl row 41, drawn for {split})" for split in ("validation", "test")
    }
    outcome.came_back = next(rows for rows in told if rows)
    (tmp_path / "report").mkdir()
    document = write_report(outcome, DataSpec(path="rows.jsonl"), tokenizer, tmp_path / "report")
    assert any("no other row there has their class: 'rare' (rows.jsonl row 41" in one for one in document["warnings"])


def test_of_sets_every_class_is_trained_on(write_rows, run):
    rows = [{"text": f"text {n}", "labels": ["a"] if n % 2 else []} for n in range(30)]
    rows += [{"text": "odd", "labels": ["a", "x", "y"]}, {"text": "odder", "labels": ["y", "z"]}]
    for seed in range(4):
        folder, _ = run(write_rows(rows), SETS, seed=seed, **SHARES)
        assert {name for example in load_split(folder, "train") for name in example.labels} == set("axyz")


def test_rows_that_are_not_classes_stay_where_they_were_drawn(write_rows, run):
    rows = [{"prompt": f"p {n}", "completion": "c", "label": n < 1} for n in range(20)]
    _, outcome = run(write_rows(rows), format="prompt_completion", validation_fraction=0.5)
    assert not outcome.came_back


@pytest.mark.parametrize("key", ["validation_path", "test_path"])
def test_given_rows_of_a_class_that_training_has_not_are_refused_with_their_place(write_rows, run, key):
    held = write_rows(
        [{"text": "h", "label": "a"}, *[{"text": f"h{n}", "label": "late"} for n in range(3)]], "held.jsonl"
    )
    settings = {"validation_fraction": 0.0, "test_fraction": 0.0, key: str(held)}
    name = key.removesuffix("_path")
    with pytest.raises(
        DataError,
        match=rf"no training row has .*objective\.labels.*\n  held\.jsonl line 2 and 2 more \({name}\): 'late'",
    ):
        run(write_rows(_rows()), ONE, **settings)
    folder, _ = run(write_rows(_rows()), NAMED, **settings)
    assert _labels(folder, name) == {"a": 1, "late": 3}


def test_classes_of_given_sets_are_looked_at_one_by_one(write_rows, run):
    rows = [{"text": f"t {n}", "labels": ["a"] if n % 2 else ["b"]} for n in range(6)]
    held = write_rows([{"text": "h", "labels": ["a", "b", "c"]}, {"text": "i", "labels": ["d", "c"]}], "held.jsonl")
    with pytest.raises(DataError) as error:
        run(write_rows(rows), SETS, validation_fraction=0.0, test_path=str(held))
    lines = str(error.value).split("\n")[1:]
    assert lines == ["  held.jsonl line 1 and 1 more (test): 'c'", "  held.jsonl line 2 (test): 'd'"]


def test_by_time_rows_stay_where_they_are_and_new_classes_are_refused(write_rows, run):
    rows = [{"text": f"t {n}", "label": "ab"[n % 2] if n < 38 else "new", "at": n} for n in range(40)]
    with pytest.raises(
        DataError, match=r"time_by puts the latest rows there.*\n  rows\.jsonl line 39 and 1 more \(test\): 'new'"
    ):
        run(write_rows(rows), ONE, split={"time_by": "at"}, **SHARES)


def test_why_training_lost_a_class_is_told(write_rows, run):
    held = write_rows([{"text": "odd rare", "label": "rare"}], "held.jsonl")
    with pytest.raises(DataError, match=r"'rare'; training rows of it were dropped: 1 also in validation or test"):
        run(write_rows(_rows("rare")), ONE, validation_fraction=0.0, test_path=str(held))


def test_a_class_whose_training_rows_are_too_long_is_refused_in_the_end(write_rows, run):
    long = {"text": "word " * 400, "label": "long"}
    held = write_rows([{"text": "short", "label": "long"}], "held.jsonl")
    with pytest.raises(DataError, match=r"held\.jsonl line 1 \(test\): 'long'; training rows of it were dropped when"):
        run(write_rows([*_rows(), long]), ONE, validation_fraction=0.0, test_path=str(held), max_length=64)


def test_a_hundred_lacking_classes_are_counted_and_ten_named(write_rows, run):
    held = write_rows([{"text": f"h {n}", "label": f"c{n:03}"} for n in range(100)], "held.jsonl")
    with pytest.raises(DataError) as error:
        run(write_rows(_rows()), ONE, validation_fraction=0.0, test_path=str(held))
    assert len(str(error.value).split("\n")) == 12
    assert str(error.value).endswith("... and 90 more")
