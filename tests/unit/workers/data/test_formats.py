"""Every way to write and to place rows, through the whole of preprocess: the same examples, or a clear fault."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from luthier.spec import DataSpec
from tests.unit.workers.data.places.servers import http_server
from workers.data.dataset import SPLITS, load_split
from workers.data.pipeline import Outcome, preprocess
from workers.data.places import Remote
from workers.data.report import write_report
from workers.failures import DataError

Run = Callable[..., tuple[Path, Outcome]]

CHATS = [
    {"messages": [{"role": "user", "content": f"hello {n} é"}, {"role": "assistant", "content": f"world {n}"}]}
    for n in range(20)
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in CHATS).encode()


def _cell(row: dict[str, Any]) -> str:
    return '"' + json.dumps(row["messages"]).replace('"', '""') + '"\n'


def _write_arrow(path: Path) -> None:
    table = pa.Table.from_pylist(CHATS)
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


WAYS: dict[str, Callable[[Path], object]] = {
    "rows.jsonl": lambda path: path.write_bytes(LINES),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(LINES)),
    "rows.jsonl.zst": lambda path: path.write_bytes(pa.compress(LINES, codec="zstd", asbytes=True)),
    "rows.json": lambda path: path.write_text(json.dumps(CHATS, indent=1)),
    "object.json": lambda path: path.write_text(json.dumps({"version": 2, "data": CHATS})),
    "rows.tsv": lambda path: path.write_text("messages\n" + "".join(map(_cell, CHATS))),
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist(CHATS), path),
    "rows.arrow": _write_arrow,
    "saved": lambda path: datasets.Dataset.from_list(CHATS).save_to_disk(path),
    "utf16.jsonl": lambda path: path.write_bytes(LINES.decode().encode("utf-16")),
    "old.jsonl": lambda path: path.write_bytes(LINES.replace(b"\n", b"\r")),
}


def _examples(folder: Path) -> list[list[tuple[list[int], Any]]]:
    return [sorted((list(one.input_ids), one.messages) for one in load_split(folder, name)) for name in SPLITS]


@pytest.fixture
def expected(tmp_path: Path, run: Run) -> Any:
    (tmp_path / "expected.jsonl").write_bytes(LINES)
    return _examples(run(tmp_path / "expected.jsonl")[0])


@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_write_rows_gives_the_same_examples(name: str, tmp_path: Path, run: Run, expected: Any) -> None:
    WAYS[name](tmp_path / name)
    folder, outcome = run(tmp_path / name)
    assert outcome.num_rows == len(CHATS)
    assert not outcome.ledger.counts
    assert _examples(folder) == expected


def test_pattern_and_url_give_the_same_examples(
    tmp_path: Path, run: Run, expected: Any, tokenizer: Any, recorder: Any
) -> None:
    (tmp_path / "in").mkdir()
    half = LINES.index(b"\n", len(LINES) // 2) + 1
    (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(LINES[:half]))
    (tmp_path / "in" / "b.jsonl.gz").write_bytes(gzip.compress(LINES[half:]))
    assert _examples(run(tmp_path / "in" / "*.jsonl.gz")[0]) == expected
    with http_server() as server:
        server.answers["/rows.jsonl.gz"] = lambda request: request.send(200, gzip.compress(LINES))
        host = f"127.0.0.1:{server.port}"
        remote = Remote(frozenset([host]), frozenset([host]), 1 << 20)
        (tmp_path / "work" / "output").mkdir(parents=True)
        spec = DataSpec(path=f"http://{host}/rows.jsonl.gz?token=hidden")
        outcome = preprocess(spec, tokenizer, tmp_path / "work" / "output", _anything, recorder, remote=remote)
    assert _examples(tmp_path / "work" / "output") == expected
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["output"]
    assert outcome.files[0].uri == f"http://{host}/rows.jsonl.gz"
    document = write_report(outcome, spec, tokenizer, tmp_path / "work" / "output")
    assert document["data"]["path"] == f"http://{host}/rows.jsonl.gz"
    assert "hidden" not in (tmp_path / "work" / "output" / "report.json").read_text()


def _anything(path: str, key: str) -> None: ...


def test_splits_of_a_dataset_are_the_splits(tmp_path: Path, run: Run) -> None:
    parts = {"train": CHATS[:12], "validation": CHATS[12:17], "test": CHATS[17:]}
    dictionary = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    dictionary.save_to_disk(tmp_path / "saved")
    _, outcome = run(tmp_path / "saved")
    assert {name: outcome.splits[name].num_rows for name in SPLITS} == {"train": 12, "validation": 5, "test": 3}
    dictionary.pop("validation")
    dictionary.save_to_disk(tmp_path / "two")
    _, outcome = run(tmp_path / "two", validation_fraction=0.25)
    assert {name: outcome.splits[name].num_rows for name in SPLITS} == {"train": 9, "validation": 3, "test": 3}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl.gz",
            gzip.compress(LINES)[:-9],
            r"a\.jsonl\.gz: the compressed data are damaged",
        ),
        ("a.json", json.dumps(CHATS)[:-9].encode(), r"a\.json row 20: broken file: line 1: broken JSON"),
        (
            "a.json",
            b'[{"text": "a"}, {"text": "b", "text": "c"}]',
            r"a\.json row 2: broken JSON: the key 'text' is there",
        ),
        ("a.json", b'[{"text": "a"}, {"text": 2}]', r"a\.json row 2: wrong type"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": ' + b"[" * 9999, r"a\.jsonl line 3: broken JSON: maximum recursion"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "a\0b"}\n', r"a\.jsonl line 2: broken JSON: Invalid control character"),
        ("a.jsonl", b'{"text": "a"}\n' + bytes(50), r"a\.jsonl line 2: broken JSON"),
        ("a.tsv", b'text\tx\na\tb\n"c\td\ne\tf\n', r"a\.tsv line 3: broken file: .*is a quote not closed"),
        ("a.zip", b"PK\x03\x04", "cannot tell the type from the name; .*An archive has to be unpacked first"),
        ("a.jsonl", b"PK\x03\x04" * 9, "a zip archive .*unpack it and give the folder"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "holds no rows; expected at least one"),
    ],
)
def test_fault_is_named_by_file_and_place(name: str, data: bytes, message: str, tmp_path: Path, run: Run) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        run(tmp_path / name)


def test_rows_that_are_left_out_are_counted(tmp_path: Path, run: Run) -> None:
    bad = b'{"messages": [], "messages": []}\n{"x": "' + b"y" * (70 << 20) + b'"}\n\xff\n'
    (tmp_path / "a.jsonl").write_bytes(LINES + bad)
    _, outcome = run(tmp_path / "a.jsonl", on_invalid_row="drop")
    assert outcome.ledger.counts == {"broken JSON": 1, "too large": 1, "not UTF-8": 1}
    assert outcome.num_rows == 23 == sum(one.num_rows for one in outcome.splits.values()) + 3


def test_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, run: Run, recorder: Any) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    told = recorder.progress

    def write_meanwhile(step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        told(step, num_steps, message, eta_seconds)
        if message == "reading and checking rows":
            with path.open("ab") as stream:
                stream.write(LINES)

    recorder.progress = write_meanwhile
    with pytest.raises(DataError, match=r"a\.jsonl changed while it was read; wait until it is complete"):
        run(path)
