"""Compressed files, archives, CSV, Parquet and Arrow."""

import bz2
import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

from tests.unit.workers.data.bad_input.case import GOOD, GOODS, Case, Make, bad_row, content

_SKIPPED = struct.pack("<II4s", 0x184D2A5E, 4, b"note")
"""A frame of zstd without rows."""
_TABLE = pa.table({"prompt": [f"question {n}" for n in range(50)], "completion": ["answer"] * 50})
_BOMB = r"unpack to more than 6\d MiB, over 250 times as much, .*unpack the file yourself"
_TABLE_BOMB = r"unpack to more than \d+ MiB, over 250 times as much, .*unpack the file yourself"
_DAMAGED = r"rows\.jsonl\.\w+: the compressed data are damaged or end too soon .*; copy the file again"
_QUOTE = r"broken file: .*is a quote not closed or not doubled\?"
_NO_PARQUET = r"rows\.parquet cannot be read as Parquet: .*; expected a file with Parquet footer"
_NO_ARROW = r"rows\.arrow cannot be read as Arrow: .*; expected an Arrow IPC file or stream"


def _gzip(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)


def _zstd(blocks: Iterable[bytes]) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        for block in blocks:
            stream.write(block)
    return bytes(packed.getvalue())


def _gzip_bomb(folder: Path) -> Path:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream:
        for _ in range(80):
            stream.write(bytes(1 << 20))
    return Path(content(packed.getvalue(), "rows.jsonl.gz")(folder))


def _zstd_bomb(folder: Path) -> Path:
    return Path(content(_zstd(bytes(1 << 20) for _ in range(80)), "rows.jsonl.zst")(folder))


def _bomb_of_rows(folder: Path) -> Path:
    """The first of them are good ones."""
    row = b"{" + b" " * (1 << 21) + GOOD[1:]
    return Path(content(_zstd(row for _ in range(35)), "rows.jsonl.zst")(folder))


def _bomb_of_short_rows(folder: Path) -> Path:
    """So many that reading them up to the limit would take minutes."""
    rows = GOOD * ((1 << 21) // len(GOOD))
    return Path(content(_zstd(rows for _ in range(35)), "rows.jsonl.zst")(folder))


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "rows.jsonl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../rows.jsonl", bytes(1 << 20))
    return folder / "rows.jsonl"


def _tar(folder: Path) -> Path:
    with tarfile.open(folder / "rows.jsonl", "w") as archive:
        archive.addfile(tarfile.TarInfo("../../rows.jsonl"), io.BytesIO(b""))
    return folder / "rows.jsonl"


def _parquet(table: pa.Table, damage: Callable[[bytes], bytes] = lambda raw: raw) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "rows.parquet"
        pq.write_table(table, path, compression="none")
        path.write_bytes(damage(path.read_bytes()))
        return path

    return make


def _dictionary_bomb(folder: Path) -> Path:
    """One answer of a mebibyte, which a hundred thousand rows share."""
    answers = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"prompt": answers, "completion": answers}), folder / "rows.parquet")
    return folder / "rows.parquet"


def _arrow_bomb(folder: Path) -> Path:
    table = pa.table({"prompt": ["x" * (1 << 20)] * 70, "completion": ["answer"] * 70})
    with pa.ipc.new_file(folder / "rows.arrow", table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as to:
        to.write_table(table)
    return folder / "rows.arrow"


def _arrow(table: pa.Table) -> Make:
    def make(folder: Path) -> Path:
        with pa.ipc.new_file(folder / "rows.arrow", table.schema) as writer:
            writer.write_table(table)
        return folder / "rows.arrow"

    return make


def _half_of_arrow(folder: Path) -> Path:
    path = Path(_arrow(_TABLE)(folder))
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    return path


_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n"
PACKED = [
    Case("a pointer of Git LFS", content(_POINTER), r"rows\.jsonl: this is a pointer of Git LFS .* git lfs pull"),
    Case("one for Parquet", content(_POINTER, "rows.parquet"), r"rows\.parquet: this is a pointer of Git LFS"),
    Case("one for Arrow", content(_POINTER, "rows.arrow"), r"rows\.arrow: this is a pointer of Git LFS"),
    Case("gzip that breaks off", content(_gzip(GOODS * 2000)[:-400], "rows.jsonl.gz"), _DAMAGED),
    Case("gzip with wrong bits", content(_gzip(GOODS)[:-6] + bytes(6), "rows.jsonl.gz"), _DAMAGED),
    Case("zstd that breaks off", content(_zstd([GOODS * 2000])[:-20], "rows.jsonl.zst"), _DAMAGED),
    Case("gzip by its name alone", content(GOODS, "rows.jsonl.gz"), kept=3, dropped={}),
    Case("gzip of two members", content(_gzip(GOODS) + _gzip(GOOD), "rows.jsonl.gz"), kept=4, dropped={}),
    Case("gzip with something after it", content(_gzip(GOODS) + b"more", "rows.jsonl.gz"), _DAMAGED),
    Case("gzip of nothing", content(_gzip(b""), "rows.jsonl.gz"), r"rows\.jsonl\.gz holds no rows; expected at least"),
    Case("zstd with frames to be skipped", content(_SKIPPED + _zstd([GOODS]) + _SKIPPED), kept=3, dropped={}),
    Case("gzip within gzip", content(_gzip(_gzip(GOODS)), "rows.jsonl.gz"), r"compressed twice; unpack it once"),
    Case("a gzip bomb", _gzip_bomb, _BOMB),
    Case("a zstd bomb", _zstd_bomb, _BOMB),
    Case("a bomb of rows", _bomb_of_rows, rf"rows\.jsonl\.zst: .*{_BOMB}"),
    Case("a bomb of short rows", _bomb_of_short_rows, rf"rows\.jsonl\.zst: .*{_BOMB}"),
    Case("bzip2", content(bz2.compress(GOODS)), r"compressed with bzip2; compress it with gzip or zstd instead"),
    Case("a zip archive that leads out", _zip, r"rows\.jsonl: this is a zip archive .*unpack it and give the folder"),
    Case("a tar archive that leads out", _tar, r"rows\.jsonl: this is a tar archive; unpack it and give the folder"),
    Case("an archive by its name", content(b"PK", "rows.zip"), r"rows\.zip: cannot tell .*has to be unpacked first"),
    Case("a spreadsheet", content(b"PK", "rows.xlsx"), r"rows\.xlsx: cannot tell the type .*expected one that ends in"),
]


def _csv(raw: bytes) -> Make:
    return content(raw, "rows.csv")


TABLES = [
    Case(
        "CSV with shifting columns",
        _csv(b"prompt,completion\na,b\nc,d,e\nf\ng,h\n"),
        r"line 3: wrong columns: 3 cells; the header has 2 columns",
        dropped={"wrong columns": 2},
        kept=2,
    ),
    Case("a quote that is never closed", _csv(b'prompt,completion\na,b\n"c,d\ne,f\n'), f"line 3: {_QUOTE}"),
    Case("a quote within a cell", _csv(b'prompt,completion\n"a"x,b\n'), f"line 2: {_QUOTE}"),
    Case("columns without a name", _csv(b"prompt,completion,,\na,b,,\n"), kept=1, dropped={}),
    Case(
        "CSV with spaces after commas",
        _csv(b"Prompt, completion\na, b\n"),
        r"columns found: Prompt, ' completion'; .* are called: \{prompt: 'Prompt', completion: ' completion'\}",
    ),
    Case(
        "TSV with a quote at the start",
        content(b'prompt\tcompletion\n"hi" he said\tb\n', "rows.tsv"),
        f"line 2: {_QUOTE}",
    ),
    Case("CSV without a header", _csv(b"hello,world\nagain,world\n"), r"columns found: hello, world; expected one of"),
    Case("a header and nothing else", _csv(b"prompt,completion\n"), r"rows\.csv holds no rows; expected at least one"),
    Case(
        "what a spreadsheet writes first", _csv(b"sep=;\nprompt;completion\n"), r"line 1: 'sep=' is no header; delete"
    ),
    Case("a column named twice", _csv(b"prompt,prompt\na,b\n"), r"line 1: the header names 'prompt' more than once"),
    Case("a header that is no text", _csv(b"\xe9\xff,b\n1,2\n"), r"rows\.csv line 1: the header is not UTF-8 text"),
    bad_row(
        "Latin-1 in a cell", _csv(b"prompt,completion\na,\xe9\nc,d\n"), "not UTF-8", "column completion holds bytes"
    ),
    Case(
        "messages that are no JSON",
        _csv(b"messages\nhello\n"),
        r"line 2: wrong type: messages is text; expected a list",
    ),
    bad_row("an empty cell", _csv(b"prompt,completion\na,\nc,d\n"), "empty", "completion is empty; expected text"),
    Case("JSON in a file named CSV", _csv(GOODS), r"rows\.csv: columns found: .*; expected one of"),
    Case("Parquet without its footer", _parquet(_TABLE, lambda raw: raw[: len(raw) // 2]), _NO_PARQUET),
    Case(
        "a footer too long", _parquet(_TABLE, lambda raw: raw[:-8] + struct.pack("<I", 1 << 30) + raw[-4:]), _NO_PARQUET
    ),
    Case("four letters of Parquet", content(b"PAR1PAR1", "rows.parquet"), _NO_PARQUET),
    Case(
        "Parquet with damaged pages",
        _parquet(_TABLE, lambda raw: raw[:8] + b"\xff" * 60 + raw[68:]),
        r"rows\.parquet cannot be read as Parquet: what stands before a page of it is no header of one: .*; copy",
    ),
    Case(
        "Parquet of numbers",
        _parquet(pa.table({"prompt": [1, 2], "completion": ["a", "b"]})),
        r"rows\.parquet row 1: wrong type: prompt is a number; expected text",
    ),
    Case(
        "Parquet with nulls",
        _parquet(pa.table({"prompt": ["a", None], "completion": ["b", "c"]})),
        r"rows\.parquet row 2: wrong type: prompt is null; expected text",
        dropped={"wrong type": 1},
        kept=1,
    ),
    Case(
        "Parquet of bytes",
        _parquet(pa.table({"text": [b"ok", b"\xff"]})),
        r"row 1: wrong type: .*bytes.*; expected text",
    ),
    Case(
        "Parquet of durations",
        _parquet(pa.table({"prompt": pa.array([1], pa.duration("ns")), "completion": ["a"]})),
        r"row 1: wrong type: a value of type \w+ cannot be written as JSON; expected text",
    ),
    Case(
        "Arrow with a day that no calendar has",
        _arrow(pa.table({"prompt": pa.array([1 << 30, 0], pa.int32()).cast(pa.date32()), "completion": ["a", "b"]})),
        r"row 1: wrong type: a date or time that is out of range",
        dropped={"wrong type": 1},
        kept=1,
    ),
    Case("Parquet of other columns", _parquet(pa.table({"q": ["a"]})), r"columns found: q; expected one of"),
    Case("Parquet without rows", _parquet(_TABLE.slice(0, 0)), r"rows\.parquet holds no rows; expected at least one"),
    Case("Parquet that shares one long answer", _dictionary_bomb, rf"rows\.parquet: .*{_TABLE_BOMB}"),
    Case("Arrow that unpacks to far more than it is", _arrow_bomb, rf"rows\.arrow: .*{_TABLE_BOMB}"),
    Case("Arrow that breaks off", _half_of_arrow, _NO_ARROW),
    Case("Arrow by its name alone", content(GOODS, "rows.arrow"), _NO_ARROW),
]
