"""What stands for the base model of a classifier: the set of labels that most training rows have."""

import json

import pytest

from workers.data.dataset import write_split
from workers.evaluation.label_sets import in_words, most_frequent


def rows(column, values):
    return [
        {"row": number, "source": "rows.jsonl", "input_ids": [1], "trainable": [False], column: value}
        for number, value in enumerate(values, start=1)
    ]


@pytest.mark.parametrize(
    ("values", "frequent"),
    [
        ([["a", "b"], ["a"], ["a", "b"]], {"a", "b"}),
        ([[], ["a"], []], set()),
        ([["b"], ["a", "c"]], {"a", "c"}),
    ],
)
def test_it_is_the_set_that_most_rows_have_or_the_first_by_name(tmp_path, values, frequent):
    write_split(tmp_path, "train", rows("labels", [json.dumps(labels) for labels in values]))
    assert most_frequent(tmp_path) == frequent


def test_of_rows_with_one_label_it_is_a_set_of_one(tmp_path):
    write_split(tmp_path, "train", rows("label", ["b", "a", "b"]))
    assert most_frequent(tmp_path) == {"b"}


def test_a_set_reads_as_a_list():
    assert in_words(frozenset({"b", "a"})) == "a, b"
    assert in_words(frozenset()) == "(none)"
