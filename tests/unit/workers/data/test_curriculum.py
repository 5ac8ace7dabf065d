"""How difficult rows are, from their column into the dataset."""

import json

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import DataSpec, PretrainSpec, parse_spec
from workers.data.dataset import load_split
from workers.data.report import write_report
from workers.failures import DataError

ALL = {"validation_fraction": 0.0, "test_fraction": 0.0}
BY_GRADE = {"difficulty_by": "grade"}


def _rows(*grades):
    return [{"text": f"row {number} of them", "grade": grade} for number, grade in enumerate(grades)]


def _difficulties(folder, name="train"):
    return [example.difficulty for example in load_split(folder, name)]


@pytest.mark.parametrize("grades", [(3, 1.5, -2), ("3", " 1.5 ", "-2e0")])
def test_numbers_and_their_text_are_carried_into_the_dataset(write_rows, run, grades):
    folder, _ = run(write_rows(_rows(*grades)), curriculum=BY_GRADE, **ALL)
    assert _difficulties(folder) == load_split(folder, "train").difficulties.tolist() == [3.0, 1.5, -2.0]


def test_the_column_is_read_from_tables_too(tmp_path, run):
    path = tmp_path / "rows.csv"
    path.write_text("text,grade,other\none row,2,x\nanother row,1,y\n")
    assert _difficulties(run(path, curriculum=BY_GRADE, **ALL)[0]) == [2.0, 1.0]


def test_nobody_looks_at_a_column_that_is_not_named(write_rows, run):
    folder, _ = run(write_rows(_rows("very hard", None)), **ALL)
    assert _difficulties(folder) == [None, None]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x"}, "line 2: wrong columns: grade is missing; data.curriculum needs it in every row"),
        ({"text": "x", "grade": None}, "grade is empty"),
        ({"text": "x", "grade": " "}, "grade is empty"),
        ({"text": "x", "grade": "hard"}, "line 2: wrong type: grade is 'hard'; data.curriculum.difficulty_by expects"),
        ({"text": "x", "grade": True}, "grade is 'True'"),
        ({"text": "x", "grade": [1]}, r"grade is '\[1\]'"),
        ({"text": "x", "grade": "nan"}, "grade is 'nan'"),
        ({"text": "x", "grade": 10**400}, "grade is '1000"),
    ],
)
def test_a_row_without_a_number_is_invalid(write_rows, run, row, words):
    path = write_rows([*_rows(1), row])
    with pytest.raises(DataError, match=words):
        run(path, curriculum=BY_GRADE)
    folder, outcome = run(path, curriculum=BY_GRADE, on_invalid_row="drop", **ALL)
    assert (_difficulties(folder), outcome.ledger.counts.total()) == ([1.0], 1)


def test_rows_without_a_value_may_go_last_and_are_told(write_rows, run, tokenizer):
    path = write_rows([*_rows(5, None, ""), {"text": "nothing of the kind"}])
    settings = {"curriculum": {**BY_GRADE, "on_missing": "last"}, **ALL}
    folder, outcome = run(path, **settings)
    assert _difficulties(folder) == [5.0, None, None, None]
    document = write_report(outcome, DataSpec(path=str(path), **settings), tokenizer, folder)
    assert any("3 training rows have nothing in grade" in warning for warning in document["warnings"])
    with pytest.raises(DataError, match="expects a number"):
        run(write_rows(_rows(5, "hard")), **settings)


def test_a_column_that_no_row_has_is_refused(write_rows, run):
    with pytest.raises(DataError, match=r"data\.curriculum\.difficulty_by: no training row has a number in 'level'"):
        run(write_rows(_rows(1, 2)), curriculum={"difficulty_by": "level", "on_missing": "last"}, **ALL)


def test_held_out_files_need_no_such_column(write_rows, run):
    test = write_rows([{"text": "held out"}], "test.jsonl")
    folder, _ = run(write_rows(_rows(1, 2)), curriculum=BY_GRADE, test_path=str(test), validation_fraction=0.0)
    assert (_difficulties(folder), _difficulties(folder, "test")) == ([1.0, 2.0], [None])


def test_windows_and_made_rows_are_as_difficult_as_their_row(write_rows, run):
    long = [{"text": "many words " * 60, "grade": 4}, {"text": "a few words", "grade": 2}]
    settings = {"overlong": "split", "max_length": 64, "curriculum": BY_GRADE, **ALL}
    folder, _ = run(write_rows(long), PretrainSpec(type="pretrain"), **settings)
    found = _difficulties(folder)
    assert len(found) > 3
    assert (set(found[:-1]), found[-1]) == ({4.0}, 2.0)
    augment = {"min_samples": 8, "methods": ["typos"], "max_copies": 8}
    asked = [f"who wrote that rather long sentence about {what} yesterday?" for what in ("trains", "boats")]
    path = write_rows([{"prompt": one, "completion": "me", "grade": grade} for grade, one in enumerate(asked, 1)])
    folder, _ = run(path, augment=augment, curriculum=BY_GRADE, **ALL)
    made = [example for example in load_split(folder, "train") if example.augmented]
    assert {example.row for example in made} == {1, 2}
    assert all(example.difficulty == example.row for example in made)


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_an_order_by_difficulty_needs_the_column(order):
    job = {"name": "job", "base_model": "tiny", "data": {"path": "x"}, "training": {"order": order}}
    with pytest.raises(InvalidSpecError, match=f"training.order: {order} goes by data.curriculum, which is absent"):
        parse_spec(json.dumps(job))
    job["data"]["curriculum"] = BY_GRADE
    assert parse_spec(json.dumps(job)).training.order == order
