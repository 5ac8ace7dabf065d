"""Files that are made to fill a machine are told from honest ones, and before a row of them is read."""

import gzip
import json
import random

import pyarrow as pa
import pytest

from workers.data.files import FILES, ratio
from workers.failures import DataError

NUM_ROWS = 2000
DRAW = random.Random(7)


def _hex(num_digits):
    return f"{DRAW.getrandbits(4 * num_digits):0{num_digits}x}"


def _log(number):
    """A beat of a server every second: all that changes is when, and how long it took."""
    when = f"2026-01-{1 + number // 86400:02}T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    fields = {"host": "node-07.example.com", "unit": "heartbeat.service", "message": "heartbeat sent to coordinator"}
    return {"text": json.dumps({"time": when, "level": "INFO", **fields, "ms": DRAW.randrange(10)})}


def _chat(number):
    """The same long system prompt in every row."""
    system = "You are the assistant of a shop. " + "Be brief, be polite, name the order. " * 40
    return {"messages": [{"role": "system", "content": system}, {"role": "user", "content": _hex(80)}]}


def _label(number):
    return {"text": f"ticket {number}", "label": DRAW.choice(["billing", "shipping", "other"])}


def _sparse(number):
    """Columns that are nearly always empty."""
    return {"text": _hex(16), **{f"annotation_{column}": None for column in range(40)}}


def _scores(number):
    return {"text": _hex(12), "scores": [0.0] * 100}


HONEST = {"logs": _log, "chat": _chat, "labels": _label, "sparse": _sparse, "zeros": _scores}
PACKERS = {
    "gz": gzip.compress,
    "zst": lambda raw: bytes(pa.Codec("zstd", 9).compress(raw).to_pybytes()),
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", HONEST)
def test_honest_rows_stay_far_below_the_limit(tmp_path, monkeypatch, kind, packer):
    monkeypatch.setattr(ratio, "FREE_BYTES", 0)
    rows = "".join(json.dumps(HONEST[kind](number)) + "\n" for number in range(NUM_ROWS)).encode()
    path = tmp_path / f"rows.jsonl.{packer}"
    path.write_bytes(PACKERS[packer](rows))
    found = len(rows) / path.stat().st_size
    print(f"{kind} .{packer}: {found:.0f} times as much unpacked")
    assert found < ratio.MAX_RATIO / 2
    assert FILES["jsonl"].columns(str(path))


@pytest.mark.parametrize(("kind", "row"), [("jsonl", b'{"text": "a"}\n'), ("csv", b"text\na\nb\nc\n")])
@pytest.mark.parametrize("packer", PACKERS)
def test_short_rows_are_refused_before_one_is_read(tmp_path, monkeypatch, kind, row, packer):
    monkeypatch.setattr(ratio, "FREE_BYTES", 1 << 20)
    path = tmp_path / f"rows.{kind}.{packer}"
    path.write_bytes(PACKERS[packer](row * ((1 << 22) // len(row))))
    with pytest.raises(DataError, match=r"bytes unpack to more than \d MiB, over 250 times as much"):
        FILES[kind].columns(str(path))


def test_what_is_stored_as_it_is_may_be_as_dull_as_it_likes(tmp_path, monkeypatch):
    monkeypatch.setattr(ratio, "FREE_BYTES", 0)
    (tmp_path / "rows.jsonl").write_bytes(b'{"text": "a"}\n' * 10_000)
    assert FILES["jsonl"].columns(str(tmp_path / "rows.jsonl")) == ["text"]


def test_a_damaged_file_is_left_to_its_reader(tmp_path):
    packed = gzip.compress(b'{"text": "a"}\n' * 100_000)
    (tmp_path / "rows.jsonl.gz").write_bytes(packed[:-100])
    reader = FILES["jsonl"]
    assert reader.columns(str(tmp_path / "rows.jsonl.gz")) == ["text"]
    assert list(reader.records(str(tmp_path / "rows.jsonl.gz"), []))[-1].reason == "broken file"
