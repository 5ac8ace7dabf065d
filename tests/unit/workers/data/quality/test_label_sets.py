"""What the report says of rows with sets of classes."""

import numpy as np
import pytest

from luthier.spec import ClassificationSpec, DataSpec
from workers.data.pipeline import preprocess
from workers.data.quality.noise import suspects_of_sets
from workers.failures import DataError

TOPICS = [
    ["invoice", "payment", "refund", "bank", "amount", "due", "card", "charge", "account", "billing"],
    ["screen", "keyboard", "printer", "driver", "cable", "install", "update", "crash", "device", "battery"],
    ["parcel", "delivery", "courier", "address", "tracking", "late", "shipment", "box", "warehouse", "route"],
]
FILLER = ["the", "my", "is", "not", "and", "it", "was", "for", "please", "can", "you", "about", "today", "again"]
WHOLE = {
    "validation_fraction": 0.0,
    "test_fraction": 0.0,
    "objective": ClassificationSpec(type="classification", multi_label=True),
}


def _texts(num, seed):
    """Texts of none to all of three classes, and [rows, 3] which."""
    random = np.random.default_rng(seed)
    members = random.random((num, 3)) < 0.35
    said = [
        " ".join([*(word for name in np.flatnonzero(row) for word in random.choice(TOPICS[name], 5)), *filler])
        for row, filler in zip(members, random.choice(FILLER, (num, 6)), strict=True)
    ]
    return said, members


def test_classes_that_are_missing_or_too_many_are_found_and_few_others():
    texts, true = _texts(800, 0)
    given = true.copy()
    rows = np.random.default_rng(1).choice(800, 40, replace=False)
    wrong = np.random.default_rng(2).integers(0, 3, 40)
    given[rows, wrong] ^= True
    suspects = suspects_of_sets(texts, given)
    found = {suspect.place: suspect.doubted for suspect in suspects}
    right = sum(found.get(int(row)) == [int(name)] for row, name in zip(rows, wrong, strict=True))
    assert right >= 20, "recall below 50 %"
    assert len(found) - right <= 4
    assert [suspect.probability for suspect in suspects] == sorted((s.probability for s in suspects), reverse=True)


def test_right_sets_raise_hardly_a_suspicion():
    texts, true = _texts(600, 3)
    assert len(suspects_of_sets(texts, true)) <= 6


def test_a_class_of_few_rows_is_not_judged():
    texts, true = _texts(300, 4)
    rare = np.zeros((300, 1), np.bool_)
    rare[:5] = True
    assert suspects_of_sets(texts, np.hstack([rare, ~rare])) == []
    assert suspects_of_sets(texts[:10], true[:10]) == []


def test_classes_are_counted_by_themselves_and_together(write_rows, run):
    sets = [["a", "b"], ["a"], ["a"], [], ["c", "a"], ["b"]]
    rows = [{"text": f"text {n}", "labels": labels} for n, labels in enumerate(sets)]
    _, outcome = run(write_rows([*rows, {"text": "text  1", "labels": ["b"]}]), **WHOLE)
    labels = outcome.quality.labels
    assert labels.counts == {"a": 4, "b": 3, "c": 1}
    assert (labels.num_rows, labels.imbalance) == (7, 4.0)
    assert 0.8 < labels.evenness < 1
    document = labels.document()
    assert document["sets"].pop("most_frequent")[:2] == [
        {"labels": ["a"], "count": 2},
        {"labels": ["b"], "count": 2},
    ]
    assert document["sets"] == pytest.approx({"num_empty": 1, "cardinality": 8 / 7, "density": 8 / 21, "num_sets": 5})
    assert labels.num_conflicting == 2
    assert [(row["row"], row["label"]) for row in labels.conflicts[0]["rows"]] == [(2, "a"), (7, "b")]
    assert outcome.quality.parts["labels"] == pytest.approx(5 / 7)


def test_of_a_single_class_rows_with_it_are_compared_with_those_without(write_rows, run):
    rows = [{"text": f"text {n}", "labels": ["spam"] if n % 4 == 0 else []} for n in range(40)]
    _, outcome = run(write_rows(rows), **WHOLE)
    assert outcome.quality.labels.imbalance == 3.0
    assert outcome.quality.parts["balance"] == pytest.approx(0.811, abs=1e-3)


def test_each_source_has_its_own_counts(tmp_path, write_rows, tokenizer, recorder):
    sources = [
        {
            "name": name,
            "path": str(write_rows([{"text": f"{name} {n}", "labels": labels} for n in range(3)], f"{name}.jsonl")),
        }
        for name, labels in (("one", ["a"]), ("two", ["a", "b"]))
    ]
    spec = DataSpec.model_validate({"sources": sources, "validation_fraction": 0.0, "test_fraction": 0.0})
    (folder := tmp_path / "out").mkdir()
    outcome = preprocess(spec, tokenizer, folder, lambda path, key: None, recorder, WHOLE["objective"])
    assert [own.labels.counts for own in outcome.quality_by_part] == [{"a": 3}, {"a": 3, "b": 3}]


def test_what_rows_are_wrong_is_said_where_the_job_asks_for_less(write_rows, run):
    texts, members = _texts(400, 5)
    names = np.array(["billing", "hardware", "parcels"])
    rows = [{"text": text, "labels": names[row].tolist()} for text, row in zip(texts, members, strict=True)]
    clear = int(np.flatnonzero((members == [True, False, False]).all(1))[0])
    rows[clear] |= {"text": " ".join(TOPICS[0]), "labels": []}
    with pytest.raises(DataError, match=rf"row {clear + 1} is \(none\); rows like it are billing"):
        run(write_rows(rows), quality={"max_label_noise": 0.0}, **WHOLE)
