from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.spec import SftSpec
from workers.data.sources import describe, find_files
from workers.failures import ConfigError, DataError


def _allow(path: str, key: str) -> None:
    pass


def test_folder_is_its_files_of_one_type_by_name(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.ndjson", "README.md", ".hidden.jsonl", "_part.jsonl"):
        (tmp_path / name).write_text('{"text": "x"}\n')
    (tmp_path / "deeper.jsonl").mkdir()
    assert [file.name for file in find_files(str(tmp_path), "data.path", "train", "auto", _allow)] == [
        "a.ndjson",
        "b.jsonl",
    ]


def test_folder_of_two_types_is_refused_unless_one_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "b.csv").write_text("text\nx\n")
    with pytest.raises(DataError, match=r"several types \(csv, jsonl\); set data\.file_type"):
        find_files(str(tmp_path), "data.path", "train", "auto", _allow)
    assert [file.name for file in find_files(str(tmp_path), "data.path", "train", "csv", _allow)] == ["b.csv"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere.jsonl", "does not exist"), ("empty.jsonl", "is empty"), ("rows.xlsx", "cannot tell the type")],
)
def test_unusable_file_is_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=message) as caught:
        find_files(str(tmp_path / name), "data.test_path", "test", "auto", _allow)
    assert name in str(caught.value)


def test_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no file that ends in \.jsonl"):
        find_files(str(tmp_path), "data.path", "train", "auto", _allow)


def test_explicit_type_reads_a_file_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text('{"text": "x"}\n')
    (file,) = find_files(str(tmp_path / "rows.txt"), "data.path", "train", "jsonl", _allow)
    assert describe(file, "auto", "data.path", SftSpec.row_formats).shape == "text"


def test_nothing_is_opened_before_the_path_was_allowed(tmp_path: Path) -> None:
    def refuse(path: str, key: str) -> None:
        raise ConfigError(f"{key} {path}")

    with pytest.raises(ConfigError, match=r"data\.path .*missing\.jsonl"):
        find_files(str(tmp_path / "missing.jsonl"), "data.path", "train", "auto", refuse)


def test_every_file_of_a_folder_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    asked: list[str] = []
    find_files(f"file://{tmp_path}", "data.path", "train", "auto", lambda path, key: asked.append(path))
    assert asked == [str(tmp_path), str(tmp_path / "a.jsonl")]


def test_unknown_protocol_is_a_fault_of_the_job_file() -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        find_files("nonsense://bucket/rows.jsonl", "data.path", "train", "auto", _allow)


def test_format_that_the_columns_do_not_have_is_refused(write_rows: Callable[..., Path]) -> None:
    (file,) = find_files(str(write_rows([{"q": 1, "a": 2}])), "data.path", "train", "auto", _allow)
    with pytest.raises(DataError, match=r"columns found: q, a; data\.format alpaca expects instruction \+ output"):
        describe(file, "alpaca", "data.path", SftSpec.row_formats)
    with pytest.raises(DataError, match=r"data\.path: .*rows\.jsonl: columns found: q, a; expected one of"):
        describe(file, "auto", "data.path", SftSpec.row_formats)
