"""Quality of whole datasets: each part sees its own fault, the score is the documented one, thresholds refuse."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import PreTrainedTokenizerBase

from luthier.spec import ClassificationSpec, DataSpec
from luthier.spec.data import QualitySpec
from workers.data.quality import PARTS
from workers.data.report import write_report
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
TOPICS = ["bread", "ships", "rain", "trains", "stars", "tea", "maps", "clocks", "music", "stones"]


def good(number: int) -> dict[str, Any]:
    topic, other = TOPICS[number % 10], TOPICS[number // 10 % 10]
    return {
        "prompt": f"What is the use of {topic} in case {number}?",
        "completion": f"That depends on the {other}, but most people who know about {topic} would say it helps a lot.",
    }


def test_a_good_dataset_has_a_high_score_and_its_parts_in_the_report(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write_rows([good(number) for number in range(60)])
    folder, outcome = run(path, **WHOLE)
    quality = outcome.quality
    assert quality is not None
    assert quality.score > 99
    assert list(quality.languages) == ["en"]
    write_report(outcome, DataSpec(path=str(path)), tokenizer, folder)
    document = json.loads((folder / "report.json").read_text())["quality"]
    assert [part["name"] for part in document["parts"]] == [name for name in PARTS if name not in ("balance", "labels")]
    assert document["lengths"]["turns"]["histogram"] == {"edges": [2, 3], "counts": [60]}
    assert document["languages"] == [{"language": "en", "count": 60}]
    assert document["labels"] is None
    assert f"{document['score']}" in (folder / "report.md").read_text()


@pytest.mark.parametrize(
    ("part", "value", "rows", "settings"),
    [
        ("validity", 0.9, [{"prompt": 1, "completion": "x"}] * 2, {"on_invalid_row": "drop"}),
        ("completeness", 0.9, [{"prompt": " ", "completion": "x"}] * 2, {"on_invalid_row": "drop"}),
        ("encoding", 0.9, [{"prompt": f"so {i}", "completion": "schÃ¶n"} for i in range(2)], {}),
        ("uniqueness", 0.9, [good(1)] * 2, {}),
        ("uniqueness", 0.9, [good(1)] * 2, {"deduplicate": False}),
        (
            "lengths",
            0.9,
            [{"prompt": "a", "completion": f"word{i} " * 9000} for i in range(2)],
            {"overlong": "truncate"},
        ),
        ("vocabulary", 0.9, [{"prompt": f"a {i}", "completion": "z" * 60} for i in range(2)], {}),
    ],
)
def test_each_part_sees_its_own_fault_alone(
    write_rows: Write, run: Run, part: str, value: float, rows: list[dict[str, Any]], settings: dict[str, Any]
) -> None:
    _, outcome = run(write_rows([*map(good, range(18)), *rows]), **WHOLE, **settings)
    parts = outcome.quality.parts
    assert parts[part] == pytest.approx(value)
    others = {name: other for name, other in parts.items() if name != part}
    assert min(others.values()) > 0.89


def test_the_score_is_the_weighted_geometric_mean_of_the_parts(write_rows: Write, run: Run) -> None:
    _, outcome = run(write_rows([*map(good, range(10)), *[good(0)] * 10]), **WHOLE)
    quality = outcome.quality
    total = sum(PARTS[name].weight for name in quality.parts)
    product = math.prod(value ** (PARTS[name].weight / total) for name, value in quality.parts.items())
    assert quality.score == pytest.approx(100 * product)
    assert quality.parts["uniqueness"] == 0.5


def test_a_minor_part_that_is_ruined_does_not_ruin_the_score(write_rows: Write, run: Run) -> None:
    odd = "x" * 60
    rows = [good(i) | {"completion": f"{good(i)['completion']} {odd}"} for i in range(20)]
    _, outcome = run(write_rows(rows), **WHOLE)
    assert outcome.quality.parts["vocabulary"] == 0.0
    assert 60 < outcome.quality.score < 80


def test_languages_are_shares_and_two_are_no_disaster(write_rows: Write, run: Run) -> None:
    german = [
        {"prompt": f"Frage {i}?", "completion": f"Der Zug an die Küste fährt jede Stunde von Gleis {i} ab, sagt man."}
        for i in range(10)
    ]
    _, outcome = run(write_rows([*map(good, range(30)), *german]), **WHOLE)
    assert outcome.quality.languages == {"en": 30, "de": 10}
    assert outcome.quality.parts["language"] == pytest.approx(1 - 0.25 / 2)


def _labelled(texts: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"text": text, "label": label} for text, label in texts]


def _classification(*labels: str) -> ClassificationSpec:
    return ClassificationSpec(type="classification", labels=list(labels))


def test_labels_are_counted_and_their_contradictions_named(write_rows: Write, run: Run) -> None:
    texts = [(f"the bill number {i} was paid twice by card", "billing") for i in range(30)]
    texts += [(f"my parcel number {i} never came to this address", "delivery") for i in range(10)]
    texts += [("the bill number 3 was  paid twice by card", "delivery")]
    texts += [("my parcel number 77 never came to this address", "billing")]
    _, outcome = run(write_rows(_labelled(texts)), objective=_classification("billing", "delivery"), **WHOLE)
    labels = outcome.quality.labels
    assert labels.counts == {"billing": 31, "delivery": 11}
    assert labels.imbalance == pytest.approx(31 / 11)
    assert labels.num_conflicting == 2
    assert [(row["row"], row["label"]) for row in labels.conflicts[0]["rows"]] == [(4, "billing"), (41, "delivery")]
    assert {(row["row"], row["label"], row["likely"]) for row in labels.suspects} >= {(42, "billing", "delivery")}
    assert outcome.quality.parts["labels"] == pytest.approx(1 - labels.noise)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ({"min_score": 99.5}, r"min_score is 99.5, the score: 9\d\.\d+; mend what the lowest parts name"),
        ({"min_rows": 100}, "min_rows is 100, rows that stay: 19"),
        ({"max_invalid": 0.01}, r"max_invalid is 0.01, the share of rows with a fault: 0\.04\d+; mend the rows"),
        ({"max_encoding_faults": 0.01}, r"max_encoding_faults is 0.01, .*: 0\.04762; set data.clean.encoding"),
        ({"max_duplicates": 0.05}, r"max_duplicates is 0.05, the share of duplicates: 0\.09524; take rows"),
        ({"max_other_languages": 0.01}, r"max_other_languages is 0.01, .*: 0\.04762; set data.filters.languages"),
    ],
)
def test_a_threshold_refuses_the_job_with_what_failed_and_the_remedy(
    write_rows: Write, run: Run, threshold: dict[str, float], message: str
) -> None:
    bad = {"prompt": "So?", "completion": "Das ist aber wirklich schÃ¶n, sagte der alte Mann am Hafen zu uns."}
    path = write_rows([*map(good, range(18)), good(1), good(2), bad, {"prompt": 1, "completion": "x"}])
    with pytest.raises(DataError, match=message) as refused:
        run(path, quality=QualitySpec(**threshold), on_invalid_row="drop", **WHOLE)
    assert "broken characters: rows.jsonl row 21" in str(refused.value)
    assert "score 9" in str(refused.value)
    run(path, quality=QualitySpec(min_rows=19, max_duplicates=0.1), on_invalid_row="drop", **WHOLE)


@pytest.mark.parametrize(
    ("texts", "threshold", "message"),
    [
        ([("one", "a"), ("two", "b")], {"min_classes": 3}, "min_classes is 3, classes: 2; add rows"),
        ([("one", "a"), ("two", "a"), ("six", "b")], {"max_class_imbalance": 1.5}, ".*: 2; add rows of small classes"),
        (
            [("one", "a"), ("one", "b")],
            {"max_label_noise": 0.1},
            ": 1; look at the rows .*\n.*row 1 is a, .* row 2 is b",
        ),
    ],
)
def test_classes_that_are_not_what_is_asked_for_are_refused(
    write_rows: Write, run: Run, texts: list[tuple[str, str]], threshold: dict[str, float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run(
            write_rows(_labelled(texts)),
            objective=_classification("a", "b"),
            quality=QualitySpec(**threshold),
            **WHOLE,
        )


def test_without_the_report_nothing_is_looked_at(write_rows: Write, run: Run) -> None:
    _, outcome = run(write_rows([good(0)]), quality=QualitySpec(report=False), **WHOLE)
    assert outcome.quality is None
    with pytest.raises(ValidationError, match="min_rows needs the section that report: false leaves out"):
        QualitySpec(report=False, min_rows=3)
