"""`data.balance`: classes get the sizes that are asked for, by repeats or by leaving out, to the row."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.spec import DataSpec, KtoSpec
from tests.unit.workers.data.select.topics import CLASSES, labelled_rows
from workers.data.dataset import SPLITS, load_split
from workers.data.outcome import Outcome
from workers.data.report import write_report
from workers.failures import DataError

Write = Callable[..., Path]
Run = Callable[..., tuple[Path, Outcome]]


@pytest.mark.parametrize(
    ("balance", "sizes"),
    [
        ({"method": "oversample"}, {"billing": 30, "login": 30, "delivery": 30}),
        ({"method": "oversample", "ratio": 0.5}, {"billing": 30, "login": 15, "delivery": 15}),
        ({"method": "smote"}, {"billing": 30, "login": 30, "delivery": 30}),
        ({"method": "undersample"}, {"billing": 1, "login": 1, "delivery": 1}),
        ({"method": "undersample", "ratio": 0.1}, {"billing": 10, "login": 10, "delivery": 1}),
    ],
)
def test_classes_in_balance(
    write_rows: Write, run: Run, tokenizer: Any, balance: dict[str, Any], sizes: dict[str, int]
) -> None:
    path = write_rows(labelled_rows(billing=30, login=12, delivery=1))
    settings = {"validation_fraction": 0.0, "test_fraction": 0.0, "balance": balance}
    folder, outcome = run(path, CLASSES, **settings)
    rows = load_split(folder, "train")
    assert Counter(row.label for row in rows) == sizes
    repeats = Counter(row.augmented for row in rows)
    added = sum(sizes.values()) - 43 + outcome.ledger.counts.total()
    assert repeats == {"": len(rows) - added, balance["method"]: added} if added else {"": len(rows)}
    spec = DataSpec.model_validate({"path": str(path), **settings})
    document = write_report(outcome, spec, tokenizer, folder)
    assert document["num_augmented"] == added
    assert document["num_rows_read"] + added == len(rows) + document["num_dropped"]
    if balance["method"] == "oversample":
        uses = Counter(row.row for row in rows if row.label == "login")
        assert max(uses.values()) - min(uses.values()) <= 1
    again, _ = run(path, CLASSES, **settings)
    assert [(row.row, row.augmented) for row in load_split(again, "train")] == [
        (row.row, row.augmented) for row in rows
    ]


def test_repeats_are_of_training_rows_alone(write_rows: Write, run: Run) -> None:
    path = write_rows(labelled_rows(billing=50, login=20))
    folder, _ = run(path, CLASSES, balance={"method": "oversample"})
    places = {split: {row.row for row in load_split(folder, split)} for split in SPLITS}
    assert not places["train"] & (places["validation"] | places["test"])
    for split in ("validation", "test"):
        assert {row.augmented for row in load_split(folder, split)} == {""}


def test_chats_with_a_label_and_desirable_answers_are_balanced_too(write_rows: Write, run: Run) -> None:
    rows = [{"prompt": f"question {i}", "completion": f"answer {i}", "label": i % 5 > 0} for i in range(40)]
    folder, _ = run(
        write_rows(rows),
        KtoSpec(type="kto"),
        balance={"method": "oversample"},
        validation_fraction=0.0,
        test_fraction=0.0,
    )
    assert Counter(row.label for row in load_split(folder, "train")) == {"desirable": 32, "undesirable": 32}


def test_balance_without_labels_is_refused(write_rows: Write, run: Run) -> None:
    with pytest.raises(DataError, match="no training row has a label"):
        run(
            write_rows([{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]),
            balance={"method": "oversample"},
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"balance": {"method": "oversample", "neighbours": 3}}, "no use without method: smote"),
        ({"balance": {"method": "undersample", "rewrite": True}}, "adds no rows"),
        ({"balance": {"method": "smote", "rewrite": True}}, "needs the methods of augment"),
        ({"augment": {"min_samples": 5, "methods": ["typos", "typos"]}}, "one of them twice"),
        ({"augment": {"min_samples": 5, "methods": ["paraphrase"]}}, "need writer"),
        ({"augment": {"min_samples": 5, "methods": ["synonyms"]}}, "need thesaurus"),
        ({"augment": {"min_samples": 5, "methods": ["typos"], "synonym_rate": 0.5}}, "no use without synonyms"),
        ({"augment": {"min_samples": 5, "methods": ["typos"], "writer": {"model": "base"}}}, "no use without"),
        (
            {"augment": {"min_samples": 5, "methods": ["paraphrase"], "writer": {"model": "base", "concurrency": 2}}},
            "no use without endpoint",
        ),
        (
            {
                "augment": {
                    "min_samples": 5,
                    "methods": ["paraphrase"],
                    "writer": {"model": "m", "endpoint": "file:///etc/passwd"},
                }
            },
            "pattern",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSpec.model_validate({"path": "rows.jsonl", **data})
