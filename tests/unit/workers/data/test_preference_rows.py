"""Pairs of answers and answers with a label, from files to what training, evaluation and people read."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec, DpoSpec, KtoSpec
from workers.data.dataset import load_split
from workers.data.problems import RowError
from workers.data.report import write_report
from workers.data.shapes import SHAPES, read_row
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0}
DPO, KTO = DpoSpec(type="dpo"), KtoSpec(type="kto")
USER = {"role": "user", "content": "hello"}
GOOD = {"role": "assistant", "content": "world"}
BAD = {"role": "assistant", "content": "fox"}
PAIR = {"prompt": "hello", "chosen": "world", "rejected": "fox"}


@pytest.mark.parametrize(
    "record",
    [
        PAIR,
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "hello", "chosen": [GOOD], "rejected": "fox"},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": None, "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "hello", "chosen": [USER, GOOD], "rejected": [USER, BAD], "score": 3},
    ],
)
def test_every_way_to_write_a_pair_is_one(record: dict[str, Any]) -> None:
    content, notes = read_row(record, SHAPES["preference"])
    assert (content, notes.rejected) == ([USER, GOOD], "fox")


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"prompt": "a", "chosen": "b"}, "wrong columns", "no rejected; found 'prompt', 'chosen'"),
        ({**PAIR, "rejected": ""}, "empty", "rejected is empty"),
        ({**PAIR, "rejected": None}, "wrong type", "rejected is null; expected text or a list of {role, content}"),
        ({**PAIR, "rejected": ["fox"]}, "wrong type", "rejected: message 1 is text"),
        ({**PAIR, "rejected": [USER]}, "wrong roles", "rejected: the last message is user"),
        ({**PAIR, "prompt": [USER, GOOD]}, "wrong roles", "prompt and chosen: message 3 is assistant, expected user"),
        ({"chosen": "b", "rejected": "c"}, "wrong roles", "chosen: message 1 is assistant, expected user"),
        (
            {"chosen": [USER, GOOD], "rejected": [{**USER, "content": "bye"}, BAD]},
            "wrong roles",
            "chosen and rejected differ before their last message",
        ),
        ({**PAIR, "rejected": "world"}, "nothing to train on", "chosen and rejected are the same answer"),
        ({**PAIR, "chosen": [{**GOOD, "weight": 2}]}, "wrong columns", "chosen: a message has a weight"),
    ],
)
def test_a_bad_pair_is_named(record: dict[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(RowError) as caught:
        read_row(record, SHAPES["preference"])
    assert (caught.value.reason, detail in caught.value.detail) == (reason, True), caught.value.detail


@pytest.mark.parametrize(
    ("given", "label"),
    [(True, "desirable"), (1, "desirable"), ("True", "desirable"), (False, "undesirable"), ("0", "undesirable")],
)
def test_labels(given: object, label: str) -> None:
    record = {"prompt": "hello", "completion": "world", "label": given}
    content, notes = read_row(record, SHAPES["labelled_completion"])
    assert (content, notes.label) == ([USER, GOOD], label)


@pytest.mark.parametrize(("given", "shown"), [(2, "2"), ("good", "'good'"), (None, "null"), (1.0, "a number")])
def test_a_bad_label_is_named(given: object, shown: str) -> None:
    with pytest.raises(RowError, match=f"label is {shown}; expected true or false"):
        read_row({"prompt": "a", "completion": "b", "label": given}, SHAPES["labelled_completion"])


def test_pairs_become_two_documents_of_one_prompt(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    chat = [USER, GOOD, {**USER, "content": "again"}]
    folder, _ = run(write_rows([{"prompt": chat, "chosen": "the quick", "rejected": "brown fox"}]), DPO, **WHOLE)
    (pair,) = load_split(folder, "train")
    assert pair.rejected is not None
    assert pair.messages == [*chat, {"role": "assistant", "content": "the quick"}]
    for document, said in ((pair, "the quick"), (pair.rejected, "brown fox")):
        assert tokenizer.decode(document.input_ids[document.trainable]) == f"{said}<|im_end|>", "the last answer alone"
    start = int(pair.trainable.argmax())
    assert pair.input_ids[:start].tolist() == pair.rejected.input_ids[:start].tolist()


def test_every_file_type_gives_the_same_rows(tmp_path: Path, write_rows: Write, run: Run) -> None:
    kinds = [
        (DPO, [{**PAIR, "prompt": f"hello {i}"} for i in range(3)]),
        (KTO, [{"prompt": f"hello {i}", "completion": "world", "label": i > 0} for i in range(3)]),
    ]
    for objective, rows in kinds:
        with (tmp_path / "a.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
        seen = []
        for path in (write_rows(rows), tmp_path / "a.csv", tmp_path / "a.parquet"):
            examples = load_split(run(path, objective, **WHOLE)[0], "train")
            seen.append(
                [(e.input_ids.tolist(), e.rejected and e.rejected.input_ids.tolist(), e.label) for e in examples]
            )
        assert seen[0] == seen[1] == seen[2]
        assert len(seen[0]) == 3


def test_bad_rows_are_named_by_place_with_the_remedy(write_rows: Write, run: Run) -> None:
    path = write_rows([PAIR, {**PAIR, "rejected": ""}, {"prompt": "a", "chosen": "b"}])
    with pytest.raises(
        DataError, match=r"2 invalid rows of 3; mend them(.|\n)*line 2: empty(.|\n)*line 3: wrong columns"
    ):
        run(path, DPO, **WHOLE)
    folder, outcome = run(path, DPO, on_invalid_row="drop", **WHOLE)
    assert len(load_split(folder, "train")) == 1
    assert outcome.ledger.num_invalid == 2


def test_rows_for_another_objective_are_refused(write_rows: Write, run: Run) -> None:
    with pytest.raises(DataError, match=r"they fit preference, which is for another objective\.type"):
        run(write_rows([PAIR]), KTO, **WHOLE)


def test_equal_pairs_are_dropped_and_equal_answers_teach_nothing(write_rows: Write, run: Run) -> None:
    rows = [PAIR, {**PAIR, "chosen": " world"}, {**PAIR, "rejected": "brown"}, {**PAIR, "rejected": "world"}]
    _, outcome = run(write_rows(rows), DPO, **WHOLE)
    assert outcome.splits["train"].num_rows == 2
    assert dict(outcome.ledger.counts) == {"duplicate": 1, "nothing to train on": 1}
    with pytest.raises(DataError, match=r"no row is left to train on: 1 read, dropped: 1 nothing to train on"):
        run(write_rows(rows[3:], "same.jsonl"), DPO, **WHOLE)


def test_a_pair_is_dropped_or_cut_as_one(write_rows: Write, run: Run) -> None:
    long = " ".join(["fox"] * 60)
    path = write_rows([PAIR, {**PAIR, "rejected": long}, {**PAIR, "prompt": long}])
    folder, outcome = run(path, DPO, max_length=40, **WHOLE)
    assert [example.row for example in load_split(folder, "train")] == [1]
    (fault, _) = outcome.ledger.first["overlong"]
    assert fault.detail.startswith("rejected: ")
    folder, outcome = run(path, DPO, max_length=40, overlong="truncate", **WHOLE)
    kept = load_split(folder, "train")
    assert [example.row for example in kept] == [1, 2]
    assert kept[1].rejected is not None
    assert len(kept[1].input_ids) < len(kept[1].rejected.input_ids) == 40
    (fault,) = outcome.ledger.first["nothing to train on"]
    assert fault.row == 3


def test_the_report_counts_both_answers_and_shows_them(
    tmp_path: Path, write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write_rows([PAIR])
    folder, outcome = run(path, DPO, **WHOLE)
    document = write_report(outcome, DataSpec(path=str(path)), tokenizer, folder)
    (pair,) = load_split(folder, "train")
    assert pair.rejected is not None
    train = document["splits"]["train"]
    assert train["num_rows"] == 1
    assert train["num_tokens"] == len(pair.input_ids) + len(pair.rejected.input_ids)
    assert train["num_trainable_tokens"] == int(pair.trainable.sum() + pair.rejected.trainable.sum())
    assert sum(train["lengths"]["histogram"]["counts"]) == 2
    assert [sample["part"] for sample in document["samples"]] == ["chosen", "rejected"]
    assert all(any(segment["trained"] for segment in sample["segments"]) for sample in document["samples"])
    page = (folder / "report.md").read_text()
    assert "rows.jsonl, row 1, chosen:" in page
    assert "⟦fox<|im_end|>⟧" in page
    assert json.loads((folder / "report.json").read_text()) == document
