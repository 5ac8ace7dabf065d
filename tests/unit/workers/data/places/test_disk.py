"""Files, folders, patterns and saved datasets on disk, by way of what the pipeline asks for."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from workers.data.sources import find_files
from workers.failures import ConfigError, DataError
from workers.task import check_readable

ROW = '{"text": "x"}\n'


def _names(path: Path | str, file_type: str = "auto", split: Any = "train", own: Any = ()) -> list[tuple[str, str]]:
    found = find_files(str(path), "data.path", split, file_type, lambda path, key: None, own_paths=own)
    return [(file.name, file.split) for file in found]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.jsonl.gz", "x/c.jsonl", "x/y/d.jsonl", "x/.hid/e.jsonl", "_x/f.jsonl", "notes.txt"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_text(ROW)
    (tmp_path / "tree" / "x" / "loop").symlink_to(tmp_path / "tree")
    return tmp_path / "tree"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["a.jsonl.gz", "b.jsonl"]),
        ("*.jsonl*", ["a.jsonl.gz", "b.jsonl"]),
        ("*", ["a.jsonl.gz", "b.jsonl"]),
        ("**/*.jsonl", ["b.jsonl", "x/c.jsonl", "x/y/d.jsonl"]),
        ("**", ["a.jsonl.gz", "b.jsonl", "x/c.jsonl", "x/y/d.jsonl"]),
        ("x/*/[cd].jsonl", ["y/d.jsonl"]),
        ("?/**/d.jsonl", ["x/y/d.jsonl"]),
        ("_x/f.jsonl", ["f.jsonl"]),
    ],
)
def test_patterns_mean_what_they_name(tree: Path, pattern: str, names: list[str]) -> None:
    assert [name for name, _ in _names(f"{tree}/{pattern}")] == names


def test_pattern_with_a_type_means_all_that_it_names(tree: Path) -> None:
    assert _names(f"{tree}/*.txt", "jsonl") == [("notes.txt", "train")]
    with pytest.raises(DataError, match=r"holds no file that ends in \.jsonl"):
        _names(f"{tree}/*.txt")
    with pytest.raises(DataError, match="nothing fits"):
        _names(f"{tree}/*.parquet")


def test_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].jsonl").write_text(ROW)
    (tmp_path / "a1.jsonl").write_text(ROW)
    assert _names(tmp_path / "a[1].jsonl") == [("a[1].jsonl", "train")]


@pytest.mark.parametrize("how", ["file", "folder", "pattern", "deep pattern"])
def test_link_out_of_the_data_roots_is_refused(tmp_path: Path, how: str) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.jsonl"
    (root / "sub").mkdir(parents=True)
    secret.write_text(ROW)
    (root / "sub" / "rows.jsonl").symlink_to(secret)
    path = {"file": "sub/rows.jsonl", "folder": "sub", "pattern": "s*/*.jsonl", "deep pattern": "**/*.jsonl"}[how]
    check: Callable[[str, str], None] = lambda path, key: check_readable(path, key, str(root))  # noqa: E731
    with pytest.raises(ConfigError, match=r"rows\.jsonl' is outside the places"):
        find_files(f"{root}/{path}", "data.path", "train", "auto", check)


def test_pattern_cannot_climb_out_of_the_data_roots(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "rows.jsonl").write_text(ROW)
    check: Callable[[str, str], None] = lambda path, key: check_readable(path, key, str(tmp_path / "root"))  # noqa: E731
    for path in ("root/../*.jsonl", "root/*/../../rows.jsonl", "*"):
        with pytest.raises((ConfigError, DataError)):
            find_files(f"{tmp_path}/{path}", "data.path", "train", "auto", check)


def test_what_was_checked_is_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text(ROW)
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "one.jsonl")
    (file,) = find_files(str(tmp_path / "link.jsonl"), "data.path", "train", "auto", lambda path, key: None)
    assert (file.path, file.uri) == (str(tmp_path / "one.jsonl"), str(tmp_path / "link.jsonl"))


def test_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="is no plain file"):
        _names(tmp_path / "rows.jsonl")


def _saved(folder: Path, splits: list[str]) -> Path:
    rows = datasets.Dataset.from_list([{"text": f"row {number}"} for number in range(30)])
    datasets.DatasetDict(dict.fromkeys(splits, rows)).save_to_disk(folder, num_shards=dict.fromkeys(splits, 2))
    return folder


def test_saved_dataset_is_its_arrow_files(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_list([{"text": "a"}, {"text": "b"}])
    rows.save_to_disk(tmp_path / "saved")
    assert _names(tmp_path / "saved") == [("data-00000-of-00001.arrow", "train")]


def test_splits_of_a_saved_dictionary_are_ours(tmp_path: Path) -> None:
    path = _saved(tmp_path / "saved", ["train", "dev", "test"])
    found = _names(path)
    assert [split for _, split in found] == ["validation"] * 2 + ["test"] * 2 + ["train"] * 2
    assert found[0][0] == "dev/data-00000-of-00002.arrow"
    assert {split for _, split in _names(path, own=("train", "test"))} == {"train", "validation"}
    assert {name.split("/")[0] for name, _ in _names(path, split="test")} == {"test"}


def test_dictionary_of_one_split_is_that_split(tmp_path: Path) -> None:
    path = _saved(tmp_path / "saved", ["dev"])
    assert {split for _, split in _names(path)} == {"train"}
    assert {split for _, split in _names(path, split="test")} == {"test"}


def test_split_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the split 'unsupervised', which is none of train, validation and test"):
        _names(_saved(tmp_path / "saved", ["train", "unsupervised"]))


@pytest.mark.parametrize(
    ("file", "document", "message"),
    [
        ("dataset_dict.json", {"splits": ["../../etc"]}, "which is not in its folder"),
        ("dataset_dict.json", {}, "names no splits"),
        ("train/state.json", {"_data_files": [{"filename": "../../rows.arrow"}]}, "which is not in its folder"),
        ("train/state.json", {"_data_files": [{"filename": "gone.arrow"}]}, "lacks gone.arrow"),
        ("train/state.json", {"_data_files": ["x"]}, "names no files"),
        ("train/state.json", {"_data_files": [], "_indices_data_files": [{"filename": "i"}]}, "keeps rows by an index"),
        ("train/state.json", [], "is not a JSON object"),
    ],
)
def test_saved_dataset_that_is_not_whole_is_refused(tmp_path: Path, file: str, document: Any, message: str) -> None:
    path = _saved(tmp_path / "saved", ["train"])
    (path / file).write_text(json.dumps(document))
    with pytest.raises(DataError, match=message):
        _names(path)
