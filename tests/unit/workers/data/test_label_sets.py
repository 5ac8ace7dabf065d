"""Rows with a set of classes: read, told apart, split, capped, and refused where they cannot be learned from."""

import json
from collections import Counter

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from luthier.spec import ClassificationSpec, SftSpec
from workers.data.dataset import load_split
from workers.data.shapes import detect
from workers.failures import DataError

SETS = ClassificationSpec(type="classification", multi_label=True)
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0, "objective": SETS}
SHARES = {"test": 0.2, "validation": 0.1}
QUESTION = {"role": "user", "content": "is it urgent?"}


def _labels(folder, split="train"):
    return [example.labels for example in load_split(folder, split)]


def test_texts_have_any_number_of_classes_or_none(write_rows, run):
    rows = [
        {"text": "one", "labels": ["urgent", "billing"]},
        {"text": "two", "labels": []},
        {"text": "three", "labels": '["billing"]'},
        {"text": "four", "labels": [7, True]},
    ]
    folder, outcome = run(write_rows(rows), **WHOLE)
    assert _labels(folder) == [("billing", "urgent"), (), ("billing",), ("7", "true")]
    assert all(example.label is None and not example.trainable.any() for example in load_split(folder, "train"))
    assert outcome.files[0].shape == "multi_labelled_text"


def test_chats_have_them_too_and_a_list_may_be_called_label(write_rows, run):
    rows = [{"messages": [QUESTION], "label": ["b", "a"]}, {"messages": [QUESTION], "label": []}]
    folder, outcome = run(write_rows(rows), **WHOLE)
    assert (_labels(folder), outcome.files[0].shape) == ([("a", "b"), ()], "multi_labelled_chat")
    folder, _ = run(write_rows(rows), format="multi_labelled_chat", **WHOLE)
    assert _labels(folder) == [("a", "b"), ()]


def test_a_class_that_a_row_names_twice_counts_once_and_is_told(write_rows, run):
    rows = [{"text": "one", "labels": ["a", "b", " a", "a"]}, {"text": "two", "labels": ["b"]}]
    folder, outcome = run(write_rows(rows), **WHOLE)
    assert _labels(folder) == [("a", "b"), ("b",)]
    assert outcome.repairs.counts == {"class named twice": 1}


@pytest.mark.parametrize(
    ("columns", "allowed", "shape"),
    [
        (["text", "labels"], SETS.row_formats, "multi_labelled_text"),
        (["text", "label", "labels"], SETS.row_formats, "multi_labelled_text"),
        (["messages", "label", "tools"], SETS.row_formats, "multi_labelled_chat"),
        (["text", "labels"], SftSpec.row_formats, "text"),
        (["prompt", "completions", "labels"], SftSpec.row_formats, "stepwise"),
    ],
)
def test_columns_and_objective_tell_the_shape(columns, allowed, shape):
    assert detect(columns, allowed) == shape


def test_steps_with_labels_are_no_sets_of_classes():
    with pytest.raises(ValueError, match="they fit stepwise and labelled_stepwise, which is for another objective"):
        detect(["prompt", "completions", "labels"], SETS.row_formats)


def test_rows_of_one_class_ask_for_the_setting_where_they_have_sets(write_rows, run):
    one = {**WHOLE, "objective": ClassificationSpec(type="classification")}
    with pytest.raises(DataError, match=r"they fit multi_labelled_text, which takes objective\.multi_label: true"):
        run(write_rows([{"text": "x", "labels": ["a"]}]), **one)
    with pytest.raises(DataError, match=r"label is a list.* set objective\.multi_label: true"):
        run(write_rows([{"text": "x", "label": ["a"]}]), **one)


def test_equal_texts_with_other_sets_are_no_copies(write_rows, run):
    sets = [["a", "b"], ["b", "a"], ["a"], [], ["c"]]
    folder, outcome = run(write_rows([{"text": "the same", "labels": labels} for labels in sets]), **WHOLE)
    assert _labels(folder) == [("a", "b"), ("a",), (), ("c",)]
    assert outcome.ledger.counts == {"duplicate": 1}


def test_of_nearly_equal_texts_one_stays_for_each_set(write_rows, run):
    text = "the parcel that I ordered three weeks ago has not come to my house in the old town yet"
    rows = [
        {"text": text, "labels": ["a", "b"]},
        {"text": f"{text}!", "labels": ["b", "a"]},
        {"text": f"{text}?", "labels": ["a"]},
        {"text": f"{text}.", "labels": []},
        {"text": f"so {text}", "labels": []},
    ]
    folder, outcome = run(write_rows(rows), deduplicate={"near": {}}, **WHOLE)
    assert _labels(folder) == [("a", "b"), ("a",), ()]
    assert outcome.ledger.counts == {"near duplicate": 2}


def test_stratified_splits_have_their_share_of_each_class(write_rows, run):
    rows = [
        {"text": f"text {n}", "labels": [name for name, every in (("a", 2), ("b", 3), ("c", 10)) if n % every == 0]}
        for n in range(300)
    ]
    for name in ("label", "labels"):
        folder, _ = run(
            write_rows(rows), validation_fraction=0.1, test_fraction=0.2, split={"stratify_by": name}, objective=SETS
        )
        found = {split: Counter(label for labels in _labels(folder, split) for label in labels) for split in SHARES}
        assert {split: len(_labels(folder, split)) for split in SHARES} == {"test": 60, "validation": 30}
        for split, share in SHARES.items():
            assert found[split] == pytest.approx({"a": 150 * share, "b": 100 * share, "c": 30 * share}, abs=1)


def test_caps_hold_for_every_class_of_a_row(write_rows, run):
    rows = [{"text": f"text {n}", "labels": ["a", "b"] if n % 5 == 0 else ["a"]} for n in range(50)]
    rows += [{"text": f"other {n}", "labels": []} for n in range(3)]
    folder, outcome = run(write_rows(rows), select={"max_per_class": 12}, **WHOLE)
    assert Counter(_labels(folder)) == {("a", "b"): 10, ("a",): 2, (): 3}
    assert outcome.ledger.counts.total() == 38


@pytest.mark.parametrize(
    ("labels", "says"),
    [(["a", "b"], "has the labels 'a' and 'b', so"), (["a"], "has the label 'a', so"), ([], "has no label, so")],
)
def test_rows_that_all_have_the_same_set_teach_nothing(write_rows, run, labels, says):
    with pytest.raises(DataError, match=f"every training row {says} there is nothing to tell apart"):
        run(write_rows([{"text": f"text {n}", "labels": labels} for n in range(5)]), **WHOLE)


def test_one_class_that_some_rows_have_is_enough(write_rows, run):
    folder, _ = run(write_rows([{"text": "one", "labels": ["a"]}, {"text": "two", "labels": []}]), **WHOLE)
    assert _labels(folder) == [("a",), ()]


def test_sets_lie_in_the_rows_as_json(write_rows, run):
    """Whoever reads the file without Luthier finds them."""
    folder, _ = run(write_rows([{"text": "x", "labels": ["ü", "a"]}, {"text": "y", "labels": []}]), **WHOLE)
    column = pa.ipc.open_file(folder / "train.arrow").read_all()["labels"].to_pylist()
    assert [json.loads(cell) for cell in column] == [["a", "ü"], []]


def test_lists_of_parquet_and_json_text_of_csv_are_sets(tmp_path, run):
    table = {"text": ["one", "two", "three"], "label": [["b", "a"], [], ["a"]]}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text('text,labels\none,"[""b"", ""a""]"\ntwo,[]\nthree,"[""a""]"\n')
    for name in ("rows.parquet", "rows.csv"):
        folder, _ = run(tmp_path / name, **WHOLE)
        assert _labels(folder) == [("a", "b"), (), ("a",)]
