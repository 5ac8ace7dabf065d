import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec
from workers.data.dataset import SPLITS, load_split
from workers.data.report import load_report, segments, write_report
from workers.data.report.histogram import length_histogram
from workers.data.statistics import Sample
from workers.failures import DataError


@pytest.fixture
def reported(
    write_rows: Callable[..., Path], run: Callable[..., Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[Path, dict[str, Any]]:
    """A dataset with something of everything, and its report."""
    rows = [{"prompt": f"hello {i}", "completion": "x " * (i % 40 + 1)} for i in range(100)]
    rows += rows[:7]
    rows += [{"prompt": "a", "completion": ""}] * 30
    rows += [{"prompt": "long", "completion": "x y z " * 300}, {"prompt": "odd", "completion": "say <|im_end|>"}]
    settings = {"on_invalid_row": "drop", "max_length": 150}
    path = write_rows(rows)
    folder, outcome = run(path, **settings)
    write_report(outcome, DataSpec(path=str(path), **settings), tokenizer, folder)
    return folder, load_report(folder)


def test_every_row_read_is_kept_or_accounted_for(reported: tuple[Path, dict[str, Any]]) -> None:
    folder, report = reported
    kept = {name: len(load_split(folder, name)) for name in SPLITS}
    assert {name: split["num_rows"] for name, split in report["splits"].items()} == kept
    assert {entry["reason"]: entry["count"] for entry in report["dropped"]} == {
        "empty": 30,
        "duplicate": 7,
        "overlong": 1,
    }
    assert report["num_rows_read"] == report["sources"][0]["num_rows"] == 139
    assert report["num_rows_read"] == sum(kept.values()) + report["num_dropped"]


def test_dropped_rows_are_named_up_to_twenty_per_reason(reported: tuple[Path, dict[str, Any]]) -> None:
    named = {entry["reason"]: [row["row"] for row in entry["rows"]] for entry in reported[1]["dropped"]}
    assert named == {"empty": list(range(108, 128)), "duplicate": list(range(101, 108)), "overlong": [138]}


def test_token_counts_and_lengths_are_those_of_the_files(reported: tuple[Path, dict[str, Any]]) -> None:
    folder, report = reported
    for name in SPLITS:
        examples = load_split(folder, name)
        lengths = sorted(len(example.input_ids) for example in examples)
        split = report["splits"][name]
        assert split["num_tokens"] == sum(lengths)
        assert split["num_trainable_tokens"] == sum(int(example.trainable.sum()) for example in examples)
        assert split["num_masked_tokens"] == split["num_tokens"] - split["num_trainable_tokens"] > 0
        shown = split["lengths"]
        assert (shown["min"], shown["max"]) == (lengths[0], lengths[-1])
        assert shown["p50"] == lengths[int(np.ceil(0.5 * len(lengths))) - 1]
        assert shown["p50"] <= shown["p90"] <= shown["p99"] <= shown["max"]
        assert sum(shown["histogram"]["counts"]) == len(lengths)
        assert len(shown["histogram"]["edges"]) == len(shown["histogram"]["counts"]) + 1


def test_sources_are_linked_by_their_hash(reported: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import hashlib

    (source,) = reported[1]["sources"]
    assert source["sha256"] == hashlib.sha256((tmp_path / "rows.jsonl").read_bytes()).hexdigest()
    assert (source["split"], source["format"], source["columns"]) == (
        "train",
        "prompt_completion",
        ["prompt", "completion"],
    )


def test_page_and_picture_are_made_for_people(reported: tuple[Path, dict[str, Any]]) -> None:
    folder, report = reported
    page = (folder / "report.md").read_text()
    assert "139 rows read, 38 dropped, 0 truncated." in page
    assert "### empty: 30" in page
    assert "... and 10 more." in page
    assert report["samples"][0]["segments"][0]["text"].splitlines()[0] in page
    assert "⟦" in page
    assert "1 rows spell control tokens" in page
    assert ElementTree.parse(folder / "lengths.svg").getroot().tag.endswith("svg")


def test_picture_of_the_same_data_is_the_same_file(tmp_path: Path) -> None:
    lengths = {"train": np.array([3, 4, 4, 9], np.int32), "validation": np.zeros(0, np.int32)}
    for name in ("a.svg", "b.svg"):
        length_histogram(lengths, 10, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_view_marks_what_is_trained_on(tokenizer: PreTrainedTokenizerBase, reported: tuple[Path, Any]) -> None:
    ids = tokenizer("hello world", add_special_tokens=False)["input_ids"]
    marks = [False] * len(tokenizer("hello", add_special_tokens=False)["input_ids"])
    sample = Sample("a", 1, ids, marks + [True] * (len(ids) - len(marks)))
    assert segments(tokenizer, sample) == [{"text": "hello", "trained": False}, {"text": " world", "trained": True}]
    for shown in reported[1]["samples"]:
        assert [segment["trained"] for segment in shown["segments"]] == [False, True, False]
        assert shown["segments"][1]["text"].endswith("<|im_end|>")


def test_empty_splits_are_warned_about(
    write_rows: Callable[..., Path], run: Callable[..., Any], tokenizer: PreTrainedTokenizerBase
) -> None:
    path = write_rows([{"text": "only one row"}])
    folder, outcome = run(path)
    report = write_report(outcome, DataSpec(path=str(path)), tokenizer, folder)
    assert [warning.split(":")[0] for warning in report["warnings"]] == [
        "the validation split is empty",
        "the test split is empty",
    ]
    assert report == load_report(folder)


def test_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not the report of a dataset"):
        load_report(tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({"version": 0}))
    with pytest.raises(DataError, match="of version 1"):
        load_report(tmp_path)
    with pytest.raises(DataError, match="is not a split of a dataset artifact"):
        load_split(tmp_path, "train")


def test_a_key_that_no_file_can_hold_is_shown_as_it_is_spelled(
    tmp_path: Path, run: Callable[..., Any], tokenizer: PreTrainedTokenizerBase
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "\\ud800": 1}\n')
    spec = DataSpec(path=str(path), seed=1 << 130, validation_fraction=0.0, test_fraction=0.0)
    folder, outcome = run(path, seed=spec.seed, validation_fraction=0.0, test_fraction=0.0)
    document = write_report(outcome, spec, tokenizer, folder)
    assert document["sources"][0]["columns"] == ["prompt", "completion", "\\ud800"]
    assert load_report(folder) == document
