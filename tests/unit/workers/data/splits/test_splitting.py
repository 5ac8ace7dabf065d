"""How rows are split: by group, in the mix of their strata, by time; what fits no split, and what says nothing."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from pyarrow import csv, parquet
from pydantic import ValidationError

from luthier.spec import ClassificationSpec, DataSpec
from luthier.spec.data import SplitSpec
from workers.data.dataset import SPLITS, SplitName, load_split
from workers.data.report import write_report
from workers.data.splits.splitting import Drawable, draw
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
TENTHS: Mapping[SplitName, float] = {"test": 0.1, "validation": 0.1}
APART = {"near_duplicates_together": False}


def _keys(sizes: Sequence[int], seed: int = 0) -> npt.NDArray[np.uint64]:
    """Keys of units of so many rows each."""
    drawn = np.random.default_rng(seed).permutation(1 << 16)[: len(sizes)].astype(np.uint64)
    return np.repeat(drawn, sizes)


def _draw(keys: npt.NDArray[np.uint64], fractions: Mapping[SplitName, float], **more: Any) -> npt.NDArray[np.int8]:
    return draw(Drawable(keys, **more), fractions)


def _sizes(side: npt.NDArray[np.int8]) -> dict[str, int]:
    return {name: int((side == number).sum()) for number, name in enumerate(SPLITS)}


@pytest.mark.parametrize(
    ("units", "fractions", "expected"),
    [
        ([1] * 100, TENTHS, {"train": 80, "validation": 10, "test": 10}),
        ([5] * 20, TENTHS, {"train": 80, "validation": 10, "test": 10}),
        # A group larger than a split is passed over.
        ([50, *[1] * 50], TENTHS, {"train": 80, "validation": 10, "test": 10}),
        # Where every group is larger, the smallest ones go.
        ([60, 20, 20], TENTHS, {"train": 60, "validation": 20, "test": 20}),
        ([60, 40], TENTHS, {"train": 60, "validation": 0, "test": 40}),
        # One group alone is trained on.
        ([30], TENTHS, {"train": 30, "validation": 0, "test": 0}),
        ([1] * 10, {"test": 0.0, "validation": 0.2}, {"train": 8, "validation": 2, "test": 0}),
        ([], TENTHS, {"train": 0, "validation": 0, "test": 0}),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_units_stay_whole_and_splits_have_their_sizes(
    units: list[int], fractions: Mapping[SplitName, float], expected: dict[str, int], seed: int
) -> None:
    keys = _keys(units, seed)
    side = _draw(keys, fractions)
    assert _sizes(side) == expected
    assert all(len(np.unique(side[keys == key])) == 1 for key in np.unique(keys))


@pytest.mark.parametrize("seed", range(20))
def test_splits_are_never_empty_nor_larger_than_asked_when_groups_fit(seed: int) -> None:
    rng = random.Random(seed)
    sizes = [rng.randint(1, 5) for _ in range(rng.randint(30, 80))]
    side = _draw(_keys(sizes, seed), {"test": 0.2, "validation": 0.3})
    found = _sizes(side)
    assert 0.15 * sum(sizes) < found["test"] <= round(0.2 * sum(sizes))
    assert 0.2 * sum(sizes) < found["validation"] <= round(0.3 * sum(sizes))


def test_a_text_counts_once_however_often_it_is_there() -> None:
    keys = np.repeat(np.arange(20, dtype=np.uint64), [31, *[1] * 19])
    assert _sizes(_draw(keys, {"test": 0.1}, texts=keys)) == {"train": 18, "validation": 0, "test": 32}
    assert _sizes(_draw(keys, {"test": 0.1})) == {"train": 45, "validation": 0, "test": 5}


def test_strata_have_their_share_in_every_split() -> None:
    strata = np.repeat(np.array([0, 1, 2, 3], np.int32), [600, 300, 90, 10])
    side = _draw(_keys([1] * 1000), TENTHS, strata=strata)
    for number in range(3):
        assert np.bincount(strata[side == number], minlength=4).tolist() == (
            [480, 240, 72, 8] if SPLITS[number] == "train" else [60, 30, 9, 1]
        )


def test_a_class_with_one_row_is_trained_on() -> None:
    strata = np.array([*[0] * 30, 1, 2, 3], np.int32)
    for seed in range(20):
        side = _draw(_keys([1] * 33, seed), {"test": 0.3, "validation": 0.3}, strata=strata)
        assert (side[30:] == SPLITS.index("train")).all()


def test_a_group_counts_as_what_most_of_its_rows_are() -> None:
    strata = np.array([0, 0, 1] * 20 + [1, 1, 0] * 20, np.int32)
    side = _draw(_keys([3] * 40), {"test": 0.2}, strata=strata)
    assert np.bincount(strata[side == SPLITS.index("test")]).tolist() == [12, 12]


def test_strata_that_are_all_different_are_refused() -> None:
    with pytest.raises(DataError, match=r"stratify_by has another value in every row.*few values"):
        _draw(_keys([1] * 9), TENTHS, strata=np.arange(9, dtype=np.int32))


@pytest.mark.parametrize("units", [[1] * 50, [2] * 25, [7, *[1] * 43]])
def test_the_latest_rows_are_tested_on_and_those_before_them_validate(units: list[int]) -> None:
    times = np.random.default_rng(3).permutation(50).astype(np.float64)
    side = _draw(_keys(units), TENTHS, times=times)
    latest = {name: times[side == number].max() for number, name in enumerate(SPLITS)}
    assert latest["train"] < latest["validation"] < latest["test"]
    sizes = _sizes(side)
    assert sizes["test"] in range(1, 8)
    assert sizes["validation"] in range(1, 8)


def _rows(count: int, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [
        {"prompt": f"question {i}", "completion": f"answer {i}", **{name: of(i) for name, of in columns.items()}}
        for i in range(count)
    ]


def _sides(folder: Path, rows: Sequence[dict[str, Any]], column: str) -> dict[str, Counter[Any]]:
    return {name: Counter(rows[row.row - 1][column] for row in load_split(folder, name)) for name in SPLITS}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_groups_stay_together_from_every_kind_of_file(
    tmp_path: Path, write_rows: Write, run: Run, kind: str, seed: int
) -> None:
    rows = _rows(60, customer=lambda i: f"c{i % 12}")
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path = write_rows(rows)
    elif kind == "csv":
        csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    first = 2 if kind == "csv" else 1
    folder, outcome = run(path, split={"group_by": "customer", **APART}, seed=seed, test_fraction=0.2)
    sides = {name: {rows[one.row - first]["customer"] for one in load_split(folder, name)} for name in SPLITS}
    assert [len(sides[name]) for name in SPLITS] == [9, 1, 2]
    assert len(set.union(*sides.values())) == 12
    assert outcome.num_rows == 60


def test_equal_rows_of_two_groups_keep_these_together(write_rows: Write, run: Run) -> None:
    rows = _rows(40, customer=lambda i: i // 2)
    for i in range(0, 38, 4):
        rows[i + 2] = {**rows[i], "customer": rows[i + 2]["customer"]}
    for seed in range(6):
        folder, _ = run(
            write_rows(rows), deduplicate=False, split={"group_by": "customer", **APART}, seed=seed, test_fraction=0.2
        )
        sides = _sides(folder, rows, "customer")
        pairs = [{customer // 2 for customer in found} for found in sides.values()]
        assert sum(map(len, pairs)) == 10


def test_classes_have_the_same_share_in_every_split(write_rows: Write, run: Run) -> None:
    rows = [{"text": f"text number {i}", "label": "rare" if i % 10 == 0 else "common"} for i in range(100)]
    objective = ClassificationSpec(type="classification")
    folder, _ = run(write_rows(rows), objective=objective, split={"stratify_by": "label", **APART})
    assert _sides(folder, rows, "label") == {
        "train": {"common": 72, "rare": 8},
        "validation": {"common": 9, "rare": 1},
        "test": {"common": 9, "rare": 1},
    }


def test_any_column_may_be_a_stratum(write_rows: Write, run: Run) -> None:
    rows = _rows(50, product=lambda i: i % 5)
    folder, _ = run(write_rows(rows), split={"stratify_by": "product", **APART})
    assert _sides(folder, rows, "product")["test"] == dict.fromkeys(range(5), 1)


@pytest.mark.parametrize(
    "moment",
    [
        lambda i: i,
        lambda i: i / 7,
        lambda i: str(1700000000 + i),
        lambda i: f"2024-{1 + i // 28:02}-{1 + i % 28:02}",
        lambda i: f"2024-05-01T{i // 60:02}:{i % 60:02}:00+02:00",
        lambda i: f"2024-05-01 10:{i:02}:00Z",
    ],
)
def test_rows_are_split_by_time_however_it_is_written(
    write_rows: Write, run: Run, moment: Callable[[int], object]
) -> None:
    rows = _rows(50, at=moment)
    random.Random(2).shuffle(rows)
    folder, _ = run(write_rows(rows), split={"time_by": "at", **APART})
    found = {name: {one.prompt[-1]["content"] for one in load_split(folder, name)} for name in SPLITS}
    assert found["test"] == {f"question {i}" for i in range(45, 50)}
    assert found["validation"] == {f"question {i}" for i in range(40, 45)}


@pytest.mark.parametrize(
    ("split", "row", "message"),
    [
        ({"group_by": "customer"}, {}, "customer is missing; data.split.group_by needs it in every row"),
        ({"group_by": "customer"}, {"customer": None}, "customer is empty; data.split.group_by needs it"),
        ({"stratify_by": "product"}, {"product": ""}, "product is empty; data.split.stratify_by needs it"),
        ({"stratify_by": "label"}, {}, "label is missing; data.split.stratify_by needs it"),
        ({"time_by": "at"}, {}, "at is missing; data.split.time_by needs it"),
        ({"time_by": "at"}, {"at": "yesterday"}, "at is 'yesterday'; data.split.time_by expects a date"),
        ({"time_by": "at"}, {"at": True}, "at is 'True'; data.split.time_by expects a date"),
        ({"time_by": "at"}, {"at": "nan"}, "at is 'nan'; data.split.time_by expects a date"),
        ({"time_by": "at"}, {"at": [1]}, "expects a date, a time"),
    ],
)
def test_a_row_without_a_key_is_named(
    write_rows: Write, run: Run, split: dict[str, str], row: dict[str, Any], message: str
) -> None:
    (key,) = split.values()
    rows = _rows(12, **{key: lambda i: i % 3 + 1})
    for name in (key,):
        rows[4].pop(name)
    rows[4] |= row
    path = write_rows(rows)
    with pytest.raises(DataError, match=r"1 invalid row of 12.*") as raised:
        run(path, split=split)
    assert "rows.jsonl line 5: " in str(raised.value)
    assert message in str(raised.value)
    _, outcome = run(path, split=split, on_invalid_row="drop")
    assert outcome.ledger.counts.total() == 1


def test_rows_of_files_for_validation_and_test_need_no_key(write_rows: Write, run: Run) -> None:
    test = write_rows(_rows(60)[50:], "test.jsonl")
    folder, _ = run(
        write_rows(_rows(20, customer=lambda i: i // 2)), test_path=str(test), split={"group_by": "customer", **APART}
    )
    assert [len(load_split(folder, name)) for name in SPLITS] == [18, 2, 10]


def test_languages_have_their_share_too(write_rows: Write, run: Run) -> None:
    texts = {
        "en": "The answer to question number {} is written down on the second page of the manual.",
        "de": "Die Antwort auf die Frage Nummer {} steht auf der zweiten Seite des Handbuchs geschrieben.",
    }
    languages = ["en"] * 60 + ["de"] * 20
    rows = [{"text": texts[language].format(i), "language": language} for i, language in enumerate(languages)]
    folder, _ = run(write_rows(rows), split={"stratify_by": "language", **APART})
    assert _sides(folder, rows, "language")["test"] == {"en": 6, "de": 2}


@pytest.mark.parametrize(("num_groups", "is_told"), [(2, True), (40, False)])
def test_a_split_far_from_its_size_is_told(
    write_rows: Write, run: Run, tokenizer: Any, num_groups: int, is_told: bool
) -> None:
    path = write_rows(_rows(80, customer=lambda i: i % num_groups))
    settings: dict[str, Any] = {"split": {"group_by": "customer", **APART}}
    folder, outcome = run(path, **settings)
    spec = DataSpec.model_validate({"path": str(path), **settings})
    told = [
        warning for warning in write_report(outcome, spec, tokenizer, folder)["warnings"] if "data.split" in warning
    ]
    assert (
        told == ["the test split has 50% of the rows, not 10%: data.split does not cut what belongs together"] * is_told
    )


@pytest.mark.parametrize("split", [{}, APART, {"group_by": "customer", **APART}, {"stratify_by": "product", **APART}])
def test_splits_do_not_depend_on_the_order_of_the_rows(write_rows: Write, run: Run, split: dict[str, Any]) -> None:
    rows = _rows(80, customer=lambda i: f"c{i % 20}", product=lambda i: i % 4)
    shuffled = random.Random(8).sample(rows, len(rows))
    first, again = (
        {name: sorted(one.prompt[-1]["content"] for one in load_split(folder, name)) for name in SPLITS}
        for folder, _ in (
            run(write_rows(some, name), split=split) for some, name in ((rows, "a.jsonl"), (shuffled, "b.jsonl"))
        )
    )
    assert first == again


def test_added_rows_move_few_others(write_rows: Write, run: Run) -> None:
    def sides(count: int) -> dict[str, str]:
        rows = _rows(count, customer=lambda i: i // 4)
        folder, _ = run(write_rows(rows), split={"group_by": "customer", **APART}, test_fraction=0.2)
        return {one.prompt[-1]["content"]: name for name in SPLITS for one in load_split(folder, name)}

    before, after = sides(400), sides(420)
    assert sum(after[text] != side for text, side in before.items()) <= 24


def test_time_and_strata_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="leave one of the two out"):
        DataSpec(path="a.jsonl", split=SplitSpec(time_by="at", stratify_by="label"))
