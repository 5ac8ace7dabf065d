"""Rows from a list of paths: their order, their names, and what is refused."""

import json

import pytest

from luthier.spec import DataSpec
from workers.data.dataset import SPLITS, load_split
from workers.data.report import write_report
from workers.failures import DataError


def _rows(word, count=4):
    return [{"text": f"{word} {number}"} for number in range(count)]


def _places(folder, name="train"):
    return [(example.source, example.row) for example in load_split(folder, name)]


@pytest.fixture
def two(tmp_path, write_rows):
    """A table that sorts last, and a folder of two files of lines."""
    folder = tmp_path / "folder"
    folder.mkdir()
    write_rows(_rows("alpha"), "folder/a.jsonl")
    write_rows(_rows("beta"), "folder/b.jsonl")
    table = tmp_path / "z.csv"
    table.write_text("text\nzeta 0\nzeta 1\n")
    return str(table), str(folder)


@pytest.mark.parametrize("turned", [False, True])
def test_paths_are_read_in_their_order_each_as_a_path_of_its_own(two, run, turned):
    table, folder = two
    paths, expected = [table, folder], ["z.csv", "a.jsonl", "b.jsonl"]
    if turned:
        paths, expected = paths[::-1], [*expected[1:], expected[0]]
    output, outcome = run(paths, validation_fraction=0.0, test_fraction=0.0)
    assert [file.name for file in outcome.files] == expected
    assert [*dict.fromkeys(source for source, _ in _places(output))] == expected
    assert outcome.num_rows == 10


def test_the_order_and_the_paths_make_the_version(two, run):
    table, folder = two
    versions = {run(paths)[1].version for paths in ([table, folder], [folder, table], [folder], folder)}
    assert len(versions) == 4


def test_a_pattern_and_splits_of_several_paths(tmp_path, write_rows, run):
    for number in range(3):
        write_rows(_rows(f"part{number}"), f"part{number}.jsonl")
        write_rows(_rows(f"held{number}", 2), f"held{number}.jsonl")
    paths = [str(tmp_path / "part[12].jsonl"), str(tmp_path / "part0.jsonl")]
    held = {"test_path": [str(tmp_path / f"held{number}.jsonl") for number in (1, 0)], "validation_path": [paths[1]]}
    folder, _ = run(paths[:1], **held)
    assert {source for source, _ in _places(folder)} == {"part1.jsonl", "part2.jsonl"}
    assert [source for source, _ in _places(folder, "test")] == ["held1.jsonl"] * 2 + ["held0.jsonl"] * 2
    assert {source for source, _ in _places(folder, "validation")} == {"part0.jsonl"}


def test_files_of_one_name_are_told_apart_by_the_number_of_their_path(tmp_path, write_rows, run):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = write_rows(_rows("one"), "a/rows.jsonl"), write_rows([*_rows("two"), {"text": 3}], "b/rows.jsonl")
    with pytest.raises(DataError, match=r"rows.jsonl \(path 2\) line 5: wrong type"):
        run([str(first), str(second)])
    folder, outcome = run([str(first), str(second)], on_invalid_row="drop")
    assert [file.name for file in outcome.files] == ["rows.jsonl (path 1)", "rows.jsonl (path 2)"]
    assert {source for name in SPLITS for source, _ in _places(folder, name)} == {file.name for file in outcome.files}


def test_a_source_may_have_a_list_too(two, run, tmp_path, tokenizer, recorder):
    from workers.data.pipeline import preprocess

    table, folder = two
    output = tmp_path / "sources"
    output.mkdir()
    spec = DataSpec(sources=[{"name": "all", "path": [folder, table]}])
    outcome = preprocess(spec, tokenizer, output, lambda path, key: None, recorder)
    assert [file.name for file in outcome.files] == ["all/a.jsonl", "all/b.jsonl", "all/z.csv"]


def test_the_report_names_every_file_and_every_path(two, run, tokenizer):
    table, folder = two
    output, outcome = run([table, folder])
    document = write_report(outcome, DataSpec(path=[table, folder]), tokenizer, output)
    assert [source["path"] for source in document["sources"]] == [table, f"{folder}/a.jsonl", f"{folder}/b.jsonl"]
    assert document["data"]["path"] == [table, folder]
    assert json.loads((output / "report.json").read_text()) == document
    assert "b.jsonl" in (output / "report.html").read_text()


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["folder/a.jsonl", "missing.jsonl"], r"data.path: .*missing.jsonl does not exist"),
        (["folder", "folder/b.jsonl"], r"data.path: paths 1 and 2 both lead to .*folder/b.jsonl; leave it out of one"),
        (["folder/a.jsonl", "link.jsonl"], r"paths 1 and 2 both lead to .*link.jsonl"),
        (["header.csv", "other.csv"], r"data.path: .*header.csv, .*other.csv holds no rows"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_by_the_path(two, run, tmp_path, paths, words):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "folder/a.jsonl")
    (tmp_path / "header.csv").write_text("text\n")
    (tmp_path / "other.csv").write_text("text\n")
    with pytest.raises(DataError, match=words):
        run([str(tmp_path / path) for path in paths])
