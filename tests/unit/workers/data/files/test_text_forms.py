"""Text as it comes: compressed, in other encodings, with other line ends, damaged, or no text at all."""

import codecs
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from workers.data.files import FILES, Record, ratio
from workers.data.files.lines import split_lines
from workers.failures import DataError

ROWS = [{"text": f"row {number} é"} for number in range(3000)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def _read(path: Path, kind: str = "jsonl") -> list[Record]:
    return list(FILES[kind].records(str(path), ("text", "prompt", "completion", "messages")))


def _zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(LINES), gzip.compress(LINES[:50_000]) + gzip.compress(LINES[50_000:]), _zstd(LINES)],
    ids=["gzip", "gzip of two members", "zstd"],
)
def test_compressed_lines_are_read_whatever_the_name_says(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(packed)
    records = _read(path)
    assert [record.row for record in records] == list(range(1, 3001))
    assert [json.loads(str(record.json_text)) for record in records] == ROWS


def test_compressed_csv_and_json_lists_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text\na\nb\n"))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(b'[{"text": "a"}, {"text": "b"}]'))
    assert [r.json_text for r in _read(tmp_path / "a.csv.gz", "csv")] == ['{"text": "a"}', '{"text": "b"}']
    assert [r.json_text for r in _read(tmp_path / "a.json.gz")] == ['{"text": "a"}', '{"text": "b"}']


@pytest.mark.parametrize("packed", [gzip.compress(LINES)[:-2000], _zstd(LINES)[:-500]], ids=["gzip", "zstd"])
def test_compressed_file_that_breaks_off_ends_with_a_fault(tmp_path: Path, packed: bytes) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(packed)
    *_, last = _read(path)
    assert (last.reason, last.json_text) == ("broken file", None)
    assert "copy the file again" in str(last.detail)


def test_gzip_with_a_changed_byte_is_a_fault(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[-8] ^= 1  # of the check sum
    (tmp_path / "rows.jsonl.gz").write_bytes(packed)
    assert _read(tmp_path / "rows.jsonl.gz")[-1].reason == "broken file"


def test_decompression_bomb_is_left_after_the_first_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratio, "FREE_BYTES", 1 << 20)
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb") as stream:
        for _ in range(64):
            stream.write((b"{}" + b" " * (1 << 16) + b"\n") * 16)
    (tmp_path / "rows.jsonl.gz").write_bytes(bomb.getvalue())
    records = _read(tmp_path / "rows.jsonl.gz")
    assert records[-1].reason == "broken file"
    assert "over 250 times as much" in str(records[-1].detail)
    assert len(records) < 64 * 16 / 2


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_byte_order_mark_says_the_encoding(tmp_path: Path, mark: bytes, encoding: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(mark + '{"text": "é😀"}\r\n{"text": "b"}\r\n'.encode(encoding))
    (tmp_path / "a.tsv").write_bytes(mark + "prompt\tcompletion\r\né\tb,c\r\n".encode(encoding))
    assert [(r.row, r.json_text) for r in _read(tmp_path / "a.jsonl")] == [(1, '{"text": "é😀"}'), (2, '{"text": "b"}')]
    assert [json.loads(str(r.json_text)) for r in _read(tmp_path / "a.tsv", "csv")] == [
        {"prompt": "é", "completion": "b,c"}
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jsonl").write_bytes('{"text": "a"}\n'.encode(encoding))
    with pytest.raises(DataError, match=r"a\.jsonl: this looks like UTF-16 without a byte order mark; save"):
        FILES["jsonl"].columns(str(tmp_path / "a.jsonl"))


def test_utf16_that_breaks_off_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(codecs.BOM_UTF16_LE + '{"text": "a"}\n{"te'.encode("utf-16-le") + b"x")
    assert [record.reason for record in _read(tmp_path / "a.jsonl")] == [None, "broken file"]


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../rows.jsonl", LINES)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("../rows.jsonl")
        entry.size = len(LINES)
        archive.addfile(entry, io.BytesIO(LINES))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (_zip(), "a zip archive .*unpack it and give the folder"),
        (_tar(), "a tar archive; unpack it"),
        (gzip.compress(_tar()), "a tar archive; unpack it"),
        (b"BZh91AY&SY", "bzip2; compress it with gzip or zstd"),
        (b"\xfd7zXZ\x00\x00", "compressed with xz"),
        (gzip.compress(gzip.compress(LINES)), "compressed twice"),
        (b"PAR1\x15\x04", "a Parquet file; set file_type: parquet"),
    ],
    ids=["zip", "tar", "tar.gz", "bzip2", "xz", "gzip twice", "parquet"],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_what_is_no_text_is_named_with_the_remedy(tmp_path: Path, kind: str, data: bytes, what: str) -> None:
    path = tmp_path / "rows"
    path.write_bytes(data)
    with pytest.raises(DataError, match=what):
        FILES[kind].columns(str(path))


def test_mixed_line_ends_count_as_in_an_editor(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\r\n{"text": "b"}\n{"text": "c"}\r{"text": "d"}\n\r\n{broken\r{"text": "f"}')
    assert [(r.row, r.json_text) for r in _read(path)] == [
        (1, '{"text": "a"}'),
        (2, '{"text": "b"}'),
        (3, '{"text": "c"}'),
        (4, '{"text": "d"}'),
        (6, "{broken"),
        (7, '{"text": "f"}'),
    ]
    (tmp_path / "a.csv").write_bytes(b"prompt,completion\ra,b\rc,d\r")
    assert [r.row for r in _read(tmp_path / "a.csv", "csv")] == [2, 3]


@pytest.mark.parametrize("size", range(1, 9))
def test_lines_do_not_depend_on_where_blocks_end(size: int) -> None:
    text = b"ab\r\n\n\rc\r\rd\r\ne\n\r\nf"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(split_lines(pieces)) == text.splitlines(keepends=True)
    assert list(split_lines([*pieces, b"\r"])) == (text + b"\r").splitlines(keepends=True)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_line_that_is_too_long_is_one_line_and_the_next_ones_are_read(size: int) -> None:
    text = b"a\n" + b"x" * 5000 + b"\r\n" + b"b\n" + b"y" * 5000
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(split_lines(pieces, max_bytes=1000)) == [b"a\n", None, b"b\n", None]


def test_hundred_megabytes_in_one_line_cost_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"text": "a"}\n{"text": "')
        for _ in range(100):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n{"text": "c"}\n')
    assert [(r.row, r.reason) for r in _read(path)] == [(1, None), (2, "too large"), (3, None)]
