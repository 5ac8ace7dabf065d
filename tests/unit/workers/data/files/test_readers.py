import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workers.data.files import FILES, Record
from workers.failures import DataError


def _read(
    path: Path, kind: str, wanted: tuple[str, ...] = ("prompt", "completion", "messages", "text")
) -> list[Record]:
    return list(FILES[kind].records(str(path), wanted))


def _values(records: list[Record]) -> list[tuple[int, Any]]:
    return [(record.row, json.loads(record.json_text)) for record in records if record.json_text is not None]


def test_jsonl_rows_carry_the_line_an_editor_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\n   \n{"text": "\xe2\x80\xa8b"}\n{"text": "last"}')
    assert _values(_read(path, "jsonl")) == [(1, {"text": "a"}), (4, {"text": "\u2028b"}), (5, {"text": "last"})]


def test_jsonl_names_the_line_and_byte_that_is_not_utf8_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n{"text": "c"}\n')
    first, bad, last = _read(path, "jsonl")
    assert (first.row, last.row, bad.row, bad.reason) == (1, 3, 2, "not UTF-8")
    assert bad.detail == "byte 11 of the line is 0xff; expected UTF-8 text"


def test_jsonl_columns_are_the_keys_of_readable_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{broken\n[1]\n{"prompt": "a"}\n{"completion": "b"}\n')
    assert FILES["jsonl"].columns(str(path)) == ["prompt", "completion"]


def test_csv_row_is_the_line_on_which_a_record_with_quoted_line_ends_starts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'prompt,completion,other\r\n"one\r\ntwo","say ""hi""",x\r\n\r\nq,a,y\r\n')
    assert _values(_read(path, "csv")) == [
        (2, {"prompt": "one\r\ntwo", "completion": 'say "hi"'}),
        (5, {"prompt": "q", "completion": "a"}),
    ]


def test_csv_row_with_a_cell_too_many_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion\na,b\nc,d,e\nf,g\n")
    records = _read(path, "csv")
    assert [record.row for record in records] == [2, 3, 4]
    assert (records[1].reason, records[1].detail) == ("wrong columns", "3 cells; the header has 2 columns")


def test_csv_cell_that_is_not_utf8_is_named_and_the_next_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"prompt,completion\na,\xe9\nc,\xc3\xa9\n")
    bad, good = _read(path, "csv")
    assert (bad.row, bad.reason) == (2, "not UTF-8")
    assert "completion" in str(bad.detail)
    assert json.loads(str(good.json_text)) == {"prompt": "c", "completion": "é"}


def test_csv_with_an_unclosed_quote_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,completion\na,b\n"c,d\ne,f\n')
    good, bad = _read(path, "csv")
    assert (good.row, bad.row, bad.reason) == (2, 3, "broken file")


@pytest.mark.parametrize("header", [b"a,a\n1,2\n", b"a,\xff\n1,2\n", b'a,"b"c\n1,2\n'])
def test_csv_with_a_bad_header_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(header)
    with pytest.raises(DataError, match=r"a\.csv line 1"):
        FILES["csv"].columns(str(path))


def test_parquet_rows_are_numbered_from_one_and_null_stays_null(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c"], "id": [1, 2, 3]}), path, row_group_size=2)
    assert _values(_read(path, "parquet")) == [(1, {"text": "a"}), (2, {"text": None}), (3, {"text": "c"})]


def test_parquet_with_a_wrong_type_or_bad_text_names_the_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    broken = pa.StringArray.from_buffers(
        2, pa.array([b"ok", b"\xff\xfe"]).buffers()[1], pa.array([b"ok", b"\xff\xfe"]).buffers()[2]
    )
    pq.write_table(pa.table({"text": broken}), path)
    assert [(r.row, r.reason) for r in _read(path, "parquet")] == [(1, None), (2, "not UTF-8")]
    pq.write_table(pa.table({"text": [b"raw"]}), path)
    assert [(r.row, r.reason) for r in _read(path, "parquet")] == [(1, "wrong type")]


def test_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match="expected a file with Parquet footer"):
        FILES["parquet"].columns(str(path))
