"""Parquet and Arrow files that are small, and gigabytes of rows: refused, or read in little memory."""

import json
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workers.data.files import FILES
from workers.failures import DataError

MIB = 1 << 20
TOO_MUCH = r"\d+ bytes unpack to more than \d+ MiB, over 250 times as much"
_READ = """
import resource, sys
from workers.data.files import FILES
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader = FILES[sys.argv[2]]
before = peak()
names = reader.columns(sys.argv[1])
num_rows = sum(record.reason is None for record in reader.records(sys.argv[1], names))
print(num_rows, peak() - before)
"""


def _noise(num_bytes):
    return random.Random(num_bytes).randbytes(num_bytes // 2).hex()


def _shared(text, num_rows):
    """A column that holds a text once."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, np.int32)), pa.array([text]))


def _parquet(path, table, **options):
    pq.write_table(table, path, **{"dictionary_pagesize_limit": 1 << 30} | options)
    return path


def _arrow(path, table, compression=None, is_file=True):
    new = pa.ipc.new_file if is_file else pa.ipc.new_stream
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return path


def _views(text, num_rows):
    """All of them of the same text."""
    one = np.frombuffer(pa.array([text], pa.string_view()).buffers()[1], np.uint8)
    views = pa.py_buffer(np.tile(one, num_rows).tobytes())
    return pa.Array.from_buffers(pa.string_view(), num_rows, [None, views, pa.py_buffer(text.encode())])


TEXT = _noise(MIB)
MANY = _shared(TEXT, 1_000_000)
LISTS = pa.ListArray.from_arrays(np.arange(301, dtype=np.int32) * 100_000, np.zeros(30_000_000, np.int8))
BOMBS = {
    "a dictionary": ("parquet", lambda path: _parquet(path, pa.table({"a": MANY}))),
    "a dictionary as text": ("parquet", lambda path: _parquet(path, pa.table({"a": MANY}), store_schema=False)),
    "a dictionary in messages": (
        "parquet",
        lambda path: _parquet(
            path,
            pa.table({"a": pa.ListArray.from_arrays(np.arange(2001, dtype=np.int32) * 500, MANY)}),
        ),
    ),
    "runs of numbers": ("parquet", lambda path: _parquet(path, pa.table({"a": LISTS}))),
    "a common beginning": (
        "parquet",
        lambda path: _parquet(
            path,
            pa.table({"a": [TEXT] * 300}),
            use_dictionary=False,
            column_encoding={"a": "DELTA_BYTE_ARRAY"},
        ),
    ),
    "an Arrow dictionary": ("arrow", lambda path: _arrow(path, pa.table({"a": MANY}))),
    "Arrow views": ("arrow", lambda path: _arrow(path, pa.table({"a": _views(TEXT, 1_000_000)}))),
    "Arrow runs": (
        "arrow",
        lambda path: _arrow(path, pa.table({"a": pa.RunEndEncodedArray.from_arrays([1_000_000], [TEXT])})),
    ),
    "rows of nothing": ("arrow", lambda path: _arrow(path, pa.table({"a": pa.nulls(1 << 28)}))),
    "rows of nothing in Parquet": ("parquet", lambda path: _parquet(path, pa.table({"a": pa.nulls(1 << 25)}))),
    "zstd": ("arrow", lambda path: _arrow(path, pa.table({"a": ["x" * MIB] * 80}), "zstd")),
    "zstd in a stream": ("arrow", lambda path: _arrow(path, pa.table({"a": ["x" * MIB] * 80}), "zstd", is_file=False)),
    "zstd in a dictionary": (
        "arrow",
        lambda path: _arrow(path, pa.table({"a": pa.array(["x" * 80 * MIB]).dictionary_encode()}), "zstd"),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_file_of_gigabytes_is_refused_at_once(tmp_path, name):
    kind, make = BOMBS[name]
    path = make(tmp_path / "rows")
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(DataError, match=TOO_MUCH):
        FILES[kind].columns(str(path))
    grown = pa.default_memory_pool().max_memory() - before
    assert grown < 200 * MIB


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_rows_below_the_limit_are_read_in_little_memory(tmp_path, kind):
    path = tmp_path / "rows"
    table = pa.table({"a": _shared(TEXT, 200)})
    _parquet(path, table) if kind == "parquet" else _arrow(path, table)
    ran = subprocess.run(
        [sys.executable, "-c", _READ, str(path), kind], capture_output=True, text=True, check=True, timeout=120
    )
    num_rows, num_kib = map(int, ran.stdout.split())
    assert num_rows == 200
    assert num_kib < 120 * 1024, "all rows at once are 200 MiB, and twice that as JSON"


def test_row_group_of_long_texts_is_read_in_little_memory(tmp_path):
    """The first of them are in a dictionary, until that is full."""
    noise = random.Random(5)
    table = pa.table({"a": [[{"role": "user", "content": noise.randbytes(1000).hex()}] for _ in range(50_000)]})
    path = _parquet(tmp_path / "rows", table, row_group_size=50_000, dictionary_pagesize_limit=MIB)
    ran = subprocess.run(
        [sys.executable, "-c", _READ, str(path), "parquet"], capture_output=True, text=True, check=True, timeout=120
    )
    num_rows, num_kib = map(int, ran.stdout.split())
    assert num_rows == 50_000
    assert path.stat().st_size > 90 * MIB
    assert num_kib < 120 * 1024


def test_batch_that_unpacks_to_more_than_memory_should_give(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.data.files.arrow.MAX_BATCH_BYTES", MIB)
    path = _arrow(tmp_path / "rows", pa.table({"a": [_noise(2 * MIB)]}), "lz4")
    with pytest.raises(
        DataError, match=r"a batch of \d+ bytes unpacks to 2 MiB in memory, over 1; write the file with"
    ):
        FILES["arrow"].columns(str(path))


ROWS = [
    {
        "text": TEXT[number : number + 50],
        "label": "abc"[number % 3],
        "messages": [{"role": "user", "content": f"é {TEXT[number:][:3000]}"}, {"role": "assistant", "content": "yes"}],
    }
    for number in range(2500)
]


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("limit", [1 << 30, 1 << 16])
def test_rows_are_the_same_however_parquet_keeps_them(tmp_path, encoded, limit):
    """Beyond the limit of its dictionary a column goes on without one."""
    table = pa.Table.from_pylist([*ROWS, dict.fromkeys(ROWS[0])])
    if encoded:
        table = table.set_column(1, "label", table["label"].dictionary_encode())
    path = tmp_path / "rows"
    pq.write_table(table, path, row_group_size=700, dictionary_pagesize_limit=limit)
    names = FILES["parquet"].columns(str(path))
    found = [json.loads(record.json_text) for record in FILES["parquet"].records(str(path), names)]
    assert found == [*ROWS, dict.fromkeys(ROWS[0])]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
@pytest.mark.parametrize("is_file", [True, False])
def test_rows_are_the_same_however_arrow_keeps_them(tmp_path, compression, is_file):
    table = pa.Table.from_pylist(ROWS)
    table = table.set_column(1, "label", table["label"].dictionary_encode())
    path = _arrow(tmp_path / "rows", table, compression, is_file)
    names = FILES["arrow"].columns(str(path))
    assert [json.loads(record.json_text) for record in FILES["arrow"].records(str(path), names)] == ROWS


@pytest.mark.parametrize("is_file", [True, False])
def test_arrow_with_any_wrong_bytes_is_refused_or_read(tmp_path, is_file):
    table = pa.table({"a": ["x" * 100] * 10, "b": pa.array(["u", "v"] * 5).dictionary_encode()})
    whole = _arrow(tmp_path / "whole", table, "zstd", is_file).read_bytes()
    draw = random.Random(5)
    for _ in range(600):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            damaged[draw.randrange(6, len(whole))] = draw.choice([0, 128, 255, draw.randrange(256)])
        (tmp_path / "rows").write_bytes(damaged)
        try:
            names = FILES["arrow"].columns(str(tmp_path / "rows"))
        except DataError:
            continue
        for record in FILES["arrow"].records(str(tmp_path / "rows"), names):
            assert record.json_text is not None or record.reason
