"""CSV dialects, and what Parquet and Arrow hold beside text."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workers.data.files import FILES, Record, type_of_name
from workers.failures import DataError


def _read(path: Path, kind: str, *wanted: str) -> list[Record]:
    return list(FILES[kind].records(str(path), wanted or ("a", "b")))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "jsonl"),
        ("A.JSON.GZ", "jsonl"),
        ("a.csv.zst", "csv"),
        ("a.tsv", "csv"),
        ("a.parquet", "parquet"),
        ("a.arrow", "arrow"),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("a.tar.gz", None),
        ("gz", None),
    ],
)
def test_type_is_told_by_the_suffix(name: str, kind: str | None) -> None:
    assert type_of_name(name) == kind


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("a.csv", "a;b\n1,5;x\n", [{"a": "1,5", "b": "x"}]),
        ("a.csv", "a\tb\n1,5\tx\n", [{"a": "1,5", "b": "x"}]),
        ("a.csv", 'a|b\n"x|y"|z\n', [{"a": "x|y", "b": "z"}]),
        ("a.csv", '"a;x",b\n1,2\n', [{"b": "2"}]),
        ("a.tsv", "a\nx,y\n", [{"a": "x,y"}]),
        ("a.tsv.gz", "a\nx,y\n", [{"a": "x,y"}]),
        ("a.csv", "a\nx\n", [{"a": "x"}]),
        ("a.csv", "a,b\nnul\0,x\n", [{"a": "nul\0", "b": "x"}]),
    ],
)
def test_delimiter_is_told_by_suffix_and_header(tmp_path: Path, name: str, text: str, rows: list[Any]) -> None:
    (tmp_path / name).write_text(text)
    assert [json.loads(str(record.json_text)) for record in _read(tmp_path / name, "csv")] == rows


def test_shifting_columns_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('a\tb\n"x\ny"\tz\nu\nv\tw\tx\nr\ts\n')
    assert [(record.row, record.reason) for record in _read(tmp_path / "a.tsv", "csv")] == [
        (2, None),
        (4, "wrong columns"),
        (5, "wrong columns"),
        (6, None),
    ]


TABLE = pa.table(
    {
        "a": pa.array([[("k", 1), ("l", None)], []], pa.map_(pa.string(), pa.int64())),
        "b": pa.array(
            [[{"role": "user", "tags": ["x"], "at": None}], None],
            pa.list_(pa.struct([("role", pa.string()), ("tags", pa.list_(pa.string())), ("at", pa.date32())])),
        ),
        "c": pa.array([2**63 - 1, -(2**63)], pa.int64()),
        "d": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
        "e": pa.array([datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)] * 2, pa.timestamp("us", "UTC")),
        "f": pa.array(["x", "y"], pa.dictionary(pa.int8(), pa.large_string())),
        "g": pa.array([True, None]),
    }
)
VALUES = [
    {
        "a": {"k": 1, "l": None},
        "b": [{"role": "user", "tags": ["x"], "at": None}],
        "c": 2**63 - 1,
        "d": "1.50",
        "e": "2026-01-02T03:04:05+00:00",
        "f": "x",
        "g": True,
    },
    {"a": {}, "b": None, "c": -(2**63), "d": None, "e": "2026-01-02T03:04:05+00:00", "f": "y", "g": None},
]


def _write(path: Path, table: pa.Table, form: str) -> Path:
    if form == "parquet":
        pq.write_table(table, path)
    elif form == "stream":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd" if form == "compressed" else None)
        with pa.ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=1)
    return path


@pytest.mark.parametrize("form", ["parquet", "file", "compressed", "stream"])
def test_nested_values_are_read_exactly(tmp_path: Path, form: str) -> None:
    path = _write(tmp_path / "rows", TABLE, form)
    kind = "parquet" if form == "parquet" else "arrow"
    assert FILES[kind].columns(str(path)) == list("abcdefg")
    assert FILES[kind].unit(str(path)) == "row"
    records = _read(path, kind, *"abcdefg")
    assert [(record.row, json.loads(str(record.json_text))) for record in records] == list(enumerate(VALUES, 1))
    assert json.loads(str(_read(path, kind, "f")[1].json_text)) == {"f": "y"}


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_columns_of_one_name_are_refused(tmp_path: Path, form: str) -> None:
    table = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], ["a", "a"])
    path = _write(tmp_path / "rows", table, form)
    with pytest.raises(DataError, match="the columns 'a' more than once"):
        FILES["parquet" if form == "parquet" else "arrow"].columns(str(path))


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_text_that_is_not_utf8_costs_its_row_alone(tmp_path: Path, form: str) -> None:
    raw = pa.array([b"ok", b"\xff\xfe", b"fine"])
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    path = _write(tmp_path / "rows", pa.table({"a": text}), form)
    records = _read(path, "parquet" if form == "parquet" else "arrow")
    assert [(record.row, record.reason) for record in records] == [(1, None), (2, "not UTF-8"), (3, None)]


def test_offsets_that_lead_out_of_the_file_are_a_fault_not_a_crash(tmp_path: Path) -> None:
    path = _write(tmp_path / "rows.arrow", pa.table({"a": ["ok", "no"]}), "stream")
    good, bad = (b"".join(number.to_bytes(4, "little") for number in (0, 2, end)) for end in (4, 1 << 30))
    assert path.read_bytes().count(good) == 1
    path.write_bytes(path.read_bytes().replace(good, bad))
    assert [(record.row, record.reason) for record in _read(path, "arrow")] == [(1, "broken file")]


@pytest.mark.parametrize("form", ["file", "stream"])
def test_arrow_that_breaks_off_is_refused_or_ends_with_a_fault(tmp_path: Path, form: str) -> None:
    whole = _write(tmp_path / "whole", TABLE, form).read_bytes()
    for size in (3, 40, len(whole) // 2, len(whole) - 12, len(whole) - 4):
        path = tmp_path / "cut.arrow"
        path.write_bytes(whole[:size])
        try:
            records = _read(path, "arrow")
        except DataError as error:
            assert "expected an Arrow IPC file or stream" in str(error)  # noqa: PT017 - either may happen
        else:
            assert records[-1].reason == "broken file"


@pytest.mark.parametrize("cut", [0.5, 0.98])
def test_parquet_without_its_footer_is_refused(tmp_path: Path, cut: float) -> None:
    whole = _write(tmp_path / "whole", TABLE, "parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: int(len(whole) * cut)])
    with pytest.raises(DataError, match="expected a file with Parquet footer"):
        FILES["parquet"].columns(str(tmp_path / "a.parquet"))


def test_parquet_with_a_damaged_page_ends_with_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [f"text {number}" for number in range(5000)]}), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    assert _read(path, "parquet")[-1].reason == "broken file"


def test_parquet_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    table = pa.table({"a": ["x" * (1 << 20)] * 80})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"a\.parquet: \d+ bytes unpack to more than 80 MiB, over 250 times as much"):
        FILES["parquet"].columns(str(tmp_path / "a.parquet"))


def test_map_with_a_key_twice_costs_its_row_alone(tmp_path: Path) -> None:
    maps = pa.array([[("k", 1)], [("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64()))
    path = _write(tmp_path / "rows", pa.table({"a": maps}), "parquet")
    assert [(record.row, record.reason) for record in _read(path, "parquet")] == [(1, None), (2, "wrong type")]
