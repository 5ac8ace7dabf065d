"""Near duplicates through the pipeline: found, dropped, kept apart by label, never on two sides."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet as pq

from luthier.spec import DataSpec, KtoSpec
from workers.data.dataset import SPLITS, load_split
from workers.data.pipeline import preprocess
from workers.data.report import write_report

WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
NEAR: dict[str, Any] = {"deduplicate": {"near": {}}}
Words = Callable[[int], list[str]]
Edit = Callable[[Sequence[str], float], list[str]]
Write = Callable[..., Path]
Run = Callable[..., Any]


def _families(sentence: Words, edited: Edit, num_families: int, size: int) -> list[dict[str, str]]:
    """Rows of families of near duplicates; `family` says which."""
    rows = []
    for number in range(num_families):
        text = sentence(60)
        for member in range(size):
            words = edited(text, 0.03) if member else text
            rows.append({"prompt": " ".join(words[:40]), "completion": " ".join(words[40:]), "family": f"f{number}"})
    return rows


def _sides(folder: Path, rows: Sequence[dict[str, str]]) -> dict[str, set[str]]:
    """For each family the splits that it has rows in."""
    sides: dict[str, set[str]] = {}
    for name in SPLITS:
        for example in load_split(folder, name):
            sides.setdefault(rows[example.row - 1]["family"], set()).add(name)
    return sides


def test_of_near_duplicates_the_first_row_stays(write_rows: Write, run: Run, sentence: Words, edited: Edit) -> None:
    rows = _families(sentence, edited, 5, 4)
    folder, outcome = run(write_rows(rows), **WHOLE, **NEAR)
    assert [example.row for example in load_split(folder, "train")] == [1, 5, 9, 13, 17]
    assert outcome.ledger.counts == {"near duplicate": 15}
    assert outcome.ledger.first["near duplicate"][0].detail == "similar to rows.jsonl row 1"


def test_equal_rows_are_counted_as_such(write_rows: Write, run: Run, sentence: Words, edited: Edit) -> None:
    text = sentence(50)
    rows = [{"text": " ".join(words)} for words in (text, edited(text, 0.04), text, edited(text, 0.04))]
    _, outcome = run(write_rows(rows), **WHOLE, **NEAR)
    assert outcome.ledger.counts == {"duplicate": 1, "near duplicate": 2}


def test_a_long_system_prompt_makes_nothing_similar(write_rows: Write, run: Run, sentence: Words) -> None:
    rows = [{"prompt": " ".join(sentence(6)), "completion": " ".join(sentence(6))} for _ in range(20)]
    folder, _ = run(write_rows(rows), **WHOLE, **NEAR, system_prompt=" ".join(sentence(200)), max_length=8192)
    assert len(load_split(folder, "train")) == 20


def test_near_duplicates_of_different_labels_both_stay_on_one_side(
    write_rows: Write, run: Run, sentence: Words, edited: Edit
) -> None:
    rows = []
    for _ in range(20):
        text = sentence(40)
        for label in (True, False, False):
            words = edited(text, 0.03)
            rows.append({"prompt": " ".join(words[:20]), "completion": " ".join(words[20:]), "label": label})
    folder, outcome = run(write_rows(rows), objective=KtoSpec(type="kto"), **NEAR)
    assert outcome.ledger.counts == {"near duplicate": 20}
    sides: dict[int, set[str]] = {}
    for name in SPLITS:
        for example in load_split(folder, name):
            sides.setdefault((example.row - 1) // 3, set()).add(name)
    assert sum(map(len, sides.values())) == 20


@pytest.mark.parametrize("asked", [NEAR, {"deduplicate": False, "split": {}}, {"deduplicate": True, "split": {}}])
def test_near_duplicates_of_test_rows_are_not_trained_on(
    write_rows: Write, run: Run, sentence: Words, edited: Edit, asked: dict[str, Any]
) -> None:
    rows = _families(sentence, edited, 6, 2)
    train, held_out = rows[::2], rows[1:6:2]
    folder, outcome = run(
        write_rows(train), test_path=str(write_rows(held_out, "test.jsonl")), validation_fraction=0.0, **asked
    )
    assert len(load_split(folder, "test")) == 3
    assert outcome.ledger.counts == {"near duplicate of validation or test": 3}
    assert [example.row for example in load_split(folder, "train")] == [4, 5, 6]
    fault = outcome.ledger.first["near duplicate of validation or test"][0]
    assert (fault.row, fault.detail) == (1, "similar to test.jsonl row 1")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    "asked",
    [
        {"deduplicate": False, "split": {}},
        {"deduplicate": True, "split": {}},
        {"deduplicate": {"near": {}}},
    ],
    ids=["kept", "exact", "near"],
)
def test_no_cluster_has_rows_on_two_sides(
    write_rows: Write, run: Run, sentence: Words, edited: Edit, asked: dict[str, Any], seed: int
) -> None:
    rows = _families(sentence, edited, 12, 4)
    rows += [dict(row) for row in rows[::5]]
    random.Random(seed).shuffle(rows)
    folder, _ = run(write_rows(rows), seed=seed, validation_fraction=0.2, test_fraction=0.2, **asked)
    sides = _sides(folder, rows)
    assert len(sides) == 12
    assert {len(names) for names in sides.values()} == {1}
    assert all(load_split(folder, name) for name in SPLITS)


def test_clusters_and_splits_do_not_depend_on_the_order_of_the_rows(
    write_rows: Write, run: Run, sentence: Words, edited: Edit
) -> None:
    rows = _families(sentence, edited, 15, 3)
    shuffled = random.Random(5).sample(rows, len(rows))
    asked = {"deduplicate": False, "split": {}, "test_fraction": 0.2}
    first, again = (
        _sides(run(write_rows(some, name), **asked)[0], some)
        for some, name in ((rows, "a.jsonl"), (shuffled, "b.jsonl"))
    )
    assert first == again


def test_clusters_can_be_looked_at(write_rows: Write, run: Run, sentence: Words, edited: Edit, tokenizer: Any) -> None:
    rows = _families(sentence, edited, 3, 3) + _families(sentence, edited, 4, 1)
    folder, outcome = run(write_rows(rows), **WHOLE, **NEAR)
    table = pq.read_table(folder / "clusters.parquet").to_pylist()
    assert [(row["source"], row["row"]) for row in table] == [("rows.jsonl", row) for row in range(1, 10)]
    assert {row["size"] for row in table} == {3}
    assert [row["kept"] for row in table] == [True, False, False] * 3
    assert len({row["cluster"] for row in table}) == 3
    assert table[0]["excerpt"].startswith(rows[0]["prompt"][:30])
    assert outcome.clusters is not None
    assert (outcome.clusters["num_clusters"], outcome.clusters["num_rows"]) == (3, 9)
    assert [row["row"] for row in outcome.clusters["first"][0]["rows"]] == [1, 2, 3]
    spec = DataSpec.model_validate({"path": "rows.jsonl", **WHOLE, **NEAR})
    write_report(outcome, spec, tokenizer, folder)
    page = (folder / "report.md").read_text()
    assert "9 rows in 3 clusters; all of them are in clusters.parquet." in page
    assert f"| 0 | 3 | rows.jsonl | 1 | yes | {table[0]['excerpt']} |" in page


def test_rows_that_are_all_different_make_no_clusters(
    write_rows: Write, run: Run, sentence: Words, edited: Edit
) -> None:
    folder, outcome = run(write_rows(_families(sentence, edited, 4, 1)), **WHOLE, **NEAR)
    assert pq.read_table(folder / "clusters.parquet").num_rows == 0
    assert outcome.clusters == {"num_clusters": 0, "num_rows": 0, "first": []}


@pytest.mark.parametrize("seed", range(6))
def test_near_duplicates_in_several_sources_stay_on_one_side(
    tmp_path: Path,
    write_rows: Write,
    sentence: Words,
    edited: Edit,
    tokenizer: Any,
    recorder: Any,
    seed: int,
) -> None:
    rows = _families(sentence, edited, 16, 4)
    sources = [
        {"name": name, "path": str(write_rows(rows[start::2], f"{name}.jsonl"))} for start, name in enumerate("ab")
    ]
    output = tmp_path / "output"
    output.mkdir()
    spec = DataSpec.model_validate(
        {"sources": sources, "deduplicate": False, "split": {}, "seed": seed, "test_fraction": 0.2}
    )
    preprocess(spec, tokenizer, output, lambda path, key: None, recorder)
    sides: dict[str, set[str]] = {}
    for name in SPLITS:
        for example in load_split(output, name):
            row = rows[2 * (example.row - 1) + (example.component == "b")]
            sides.setdefault(row["family"], set()).add(name)
    assert len(sides) == 16
    assert {len(names) for names in sides.values()} == {1}
