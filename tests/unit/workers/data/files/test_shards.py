"""Parts of a file of lines, read side by side."""

import gzip
import hashlib
import json
import random
from pathlib import Path

import pytest

from workers.data.files import FILES
from workers.data.lineage.digest import digest

READER = FILES["jsonl"]
assert READER.shard is not None


def _lines(end: str, num_rows: int = 60_000) -> bytes:
    draw = random.Random(0)
    rows = ("" if draw.random() < 0.1 else json.dumps({"text": "é" * draw.randrange(60)}) for _ in range(num_rows))
    return end.join(rows).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_shards_have_the_rows_of_the_whole(tmp_path: Path, end: str, last: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_lines(end) + last.encode())
    found = digest(path, shard_bytes=1 << 20)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(found.shards) > 3
    assert (found.shards[0].start, found.shards[-1].stop) == (0, path.stat().st_size)
    assert READER.is_cuttable(str(path))
    assert READER.shard is not None
    parts = [record for shard in found.shards for record in READER.shard(str(path), shard)]
    assert parts == list(READER.records(str(path), ()))


def test_small_file_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_lines("\n", 100))
    assert digest(tmp_path / "a.jsonl").shards == ()


def test_lines_that_end_with_cr_are_not_counted_by_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(_lines("\n") + b"\r{}\n")
    assert digest(tmp_path / "a.jsonl", shard_bytes=1 << 20).shards == ()


def test_line_longer_than_a_block_is_in_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" * 400_000 + b'{"text": "' + b"x" * (3 << 20) + b'"}\n' + b"{}\n" * 400_000)
    found = digest(path, shard_bytes=1 << 20)
    assert READER.shard is not None
    rows = [record.row for shard in found.shards for record in READER.shard(str(path), shard)]
    assert rows == list(range(1, 800_002))


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"{}\n{}\n", mtime=0),
        '{"a": 1}\n{}\n'.encode("utf-16"),
        b"\xef\xbb\xbf{}\n{}\n",
        b'[{"a": 1},\n{"a": 2}]',
    ],
    ids=["gzip", "utf-16", "with a mark", "list"],
)
def test_what_is_not_plain_lines_is_not_cut(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    assert not READER.is_cuttable(str(tmp_path / "a.jsonl"))
