"""JSON Lines, a list, an object around a list: which one a file is, and the rows of each."""

import json
from pathlib import Path
from typing import Any

import pytest

from workers.data.files import FILES, Record
from workers.data.files.json_text import DoubledKeyError, parse_json
from workers.data.shapes import SHAPES

CHAT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
ROWS = [{"text": 'é "quoted" ]}[{'}, CHAT, {"text": "c\n", "n": 1.5}]


def _read(path: Path) -> list[Record]:
    return list(FILES["jsonl"].records(str(path), ()))


def _values(path: Path) -> list[tuple[int, Any]]:
    return [(record.row, json.loads(str(record.json_text))) for record in _read(path)]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (json.dumps(ROWS), "row"),
        (json.dumps(ROWS, indent=2, ensure_ascii=False), "row"),
        ("\ufeff\n  " + json.dumps(ROWS) + "\n\n", "row"),
        (json.dumps({"data": ROWS}), "row"),
        (
            json.dumps({"version": "1", "info": {"a": [1]}, "tags": ["x"], "data": ROWS, "more": [1, 2]}, indent=1),
            "row",
        ),
        ("\n".join(map(json.dumps, ROWS)), "line"),
        ("\n".join(map(json.dumps, ROWS)) + "\r\n", "line"),
    ],
    ids=["list", "pretty list", "list with mark", "object", "pretty object", "lines", "lines with end"],
)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_form_is_told_by_the_content(tmp_path: Path, name: str, text: str, unit: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert _values(tmp_path / name) == list(enumerate(ROWS, 1))
    assert FILES["jsonl"].unit(str(tmp_path / name)) == unit
    assert set(FILES["jsonl"].columns(str(tmp_path / name))) == {"text", "messages", "n"}


OBJECTS = [{"label": True, "text": "a"}, {"label": False, "text": "b"}]
"""A list that could be rows, or the value of a column."""
ALONE = {
    "chat": CHAT,
    "sharegpt": SHAREGPT,
    "chat with tools": {**CHAT, "tools": [{"name": "f"}]},
    "tools first": {"tools": [{"name": "f"}], **CHAT},
    "segments": {"segments": OBJECTS},
    "segments and an id": {"id": 7, "segments": OBJECTS},
    "numbers as segments": {"segments": [1]},
    "text": {"text": "a"},
    "text with notes": {"text": "a", "annotations": OBJECTS},
    "notes with text": {"annotations": OBJECTS, "text": "a"},
    "a prompt with tools": {"prompt": "a", "completion": "b", "tools": [{"type": "function"}]},
    "a prompt with sources": {"documents": OBJECTS, "prompt": "a", "completion": "b"},
    "steps": {"prompt": "a", "completions": OBJECTS, "labels": [True, False]},
    "an instruction": {"instruction": "a", "output": "b", "references": OBJECTS},
    "a history of objects": {"instruction": "a", "output": "b", "history": OBJECTS},
    "a pair": {"chosen": OBJECTS, "rejected": OBJECTS},
    "one answer of a pair": {"chosen": OBJECTS, "rejected": "b"},
    "OpenAI's pair": {"input": {"messages": []}, "preferred_output": OBJECTS, "non_preferred_output": []},
    "messages by other names": {"dialogue": [{"from": "a", "said": "b"}]},
    "two lists": {"left": OBJECTS, "right": OBJECTS},
}


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("end", ["", "\n", "\r\n\n"])
def test_one_row_alone_is_a_row(tmp_path: Path, name: str, end: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ALONE[name]) + end, newline="")
    assert _values(tmp_path / "a.json") == [(1, ALONE[name])]
    assert FILES["jsonl"].unit(str(tmp_path / "a.json")) == "line"


@pytest.mark.parametrize("name", SHAPES)
def test_one_row_of_any_shape_is_a_row_whatever_its_columns_hold(tmp_path: Path, name: str) -> None:
    for column in SHAPES[name].columns:
        row = {**dict.fromkeys(SHAPES[name].required, "a"), column: OBJECTS}
        (tmp_path / "a.json").write_text(json.dumps(row))
        assert _values(tmp_path / "a.json") == [(1, row)]


@pytest.mark.parametrize("key", ["data", "rows", "examples", "train", "anything"])
@pytest.mark.parametrize("more", [{}, {"version": "1.1", "tags": ["x"]}, {"label": "x", "input": "y", "system": "z"}])
def test_object_around_rows_is_none(tmp_path: Path, key: str, more: dict[str, Any]) -> None:
    for document in ({key: OBJECTS, **more}, {**more, key: OBJECTS}):
        (tmp_path / "a.json").write_text(json.dumps(document))
        assert _values(tmp_path / "a.json") == list(enumerate(OBJECTS, 1))


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        ('"text": "a"}', "'text' after a list of objects; if all of it is one row, write it in a list"),
        ("[1]: 2}", "broken JSON after the list of rows"),
    ],
)
def test_what_follows_beyond_the_first_block_is_refused_not_lost(tmp_path: Path, end: str, detail: str) -> None:
    filler = json.dumps([{"note": "x" * 1000}] * 1500)
    (tmp_path / "a.json").write_text(f'{{"annotations": {filler}, {end}')
    last = _read(tmp_path / "a.json")[-1]
    assert last.reason == "broken file"
    assert detail in str(last.detail)


def test_list_much_longer_than_a_block_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [{"text": "ab\\" * (number % 50 * 1000), "n": number} for number in range(100)]
    rows.insert(50, {"text": "z" * 3_000_000, "n": -1})
    for indent in (None, 1):
        (tmp_path / "a.json").write_text(json.dumps(rows, indent=indent))
        assert [value for _, value in _values(tmp_path / "a.json")] == rows


@pytest.mark.parametrize("text", ["[]", "  [ ]\n", '{"data": []}'])
def test_empty_list_has_no_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert [record for record in _read(tmp_path / "a.json") if record.json_text != '{"data": []}'] == []


@pytest.mark.parametrize(
    ("text", "rows", "detail"),
    [
        ('[{"a": 1},\n {"a": 2}', [1, 2, 3], "line 2: 'the end' after a row"),
        ('[{"a": 1},\n {"a": ', [1, 2], "line 2: broken JSON: Expecting value"),
        ('[{"a": 1},\n\n {"a" 2},\n {"a": 3}]', [1, 2], "line 3: broken JSON: Expecting ':' delimiter"),
        ('[{"a": 1},\n {"a": 2},]', [1, 2, 3], "line 2: broken JSON: Expecting value"),
        ('[{"a": 1}] {"a": 2}', [1, 2], "line 1: '{' after the list of rows"),
        ('{"x": [{"a": 1}],\n "y": ' + "[" * 3, [1, 2], "broken JSON"),
        ("[" * 100_000, [1], "maximum recursion depth"),
        ('[{"a": 1} {"a": 2}]', [1, 2], "line 1: '{' after a row"),
    ],
)
def test_broken_list_ends_where_it_breaks(tmp_path: Path, text: str, rows: list[int], detail: str) -> None:
    (tmp_path / "a.json").write_text(text)
    records = _read(tmp_path / "a.json")
    assert [record.row for record in records] == rows
    assert records[-1].reason == "broken file"
    assert detail in str(records[-1].detail)


def test_second_list_of_objects_is_refused_not_left_out(tmp_path: Path) -> None:
    filler = [{"text": "x" * 1000}] * 1500
    (tmp_path / "a.json").write_text(json.dumps({"train": filler, "test": [{"text": "y"}]}))
    last = _read(tmp_path / "a.json")[-1]
    assert (last.row, last.reason) == (1501, "broken file")
    assert "a second list of objects" in str(last.detail)


def test_elements_that_are_no_objects_are_rows_too(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[1, "a", null, {"text": "b"}, [2]]')
    assert [record.json_text for record in _read(tmp_path / "a.json")] == ["1", '"a"', "null", '{"text": "b"}', "[2]"]


def test_bytes_that_are_not_utf8_cost_their_row_alone(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"text": "a"}, {"text": "\xff"}, {"text": "c"}]')
    assert [(record.row, record.reason) for record in _read(tmp_path / "a.json")] == [
        (1, None),
        (2, "not UTF-8"),
        (3, None),
    ]


def test_lines_that_hold_lists_are_lines(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('[1]\n[{"text": "b"}]\n')
    assert [(record.row, record.json_text) for record in _read(tmp_path / "a.jsonl")] == [
        (1, "[1]"),
        (2, '[{"text": "b"}]'),
    ]


@pytest.mark.parametrize(
    ("text", "key"), [('{"a": 1, "b": 2, "a": 3}', "a"), ('{"m": [{"role": "x", "role": "y"}]}', "role")]
)
def test_doubled_key_is_refused(text: str, key: str) -> None:
    with pytest.raises(DoubledKeyError, match=f"the key '{key}' is there 2 times"):
        parse_json(text)


def test_other_json_is_what_the_library_makes_of_it() -> None:
    for value in (ROWS, None, 1e300, "\ud800", [[]] * 3, {"": {}}):
        assert parse_json(json.dumps(value)) == value
