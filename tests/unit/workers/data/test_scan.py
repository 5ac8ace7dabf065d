"""Rows come in order, and before all of them were read."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from luthier.spec import DataSpec, SftSpec
from workers.data import scan
from workers.data.lineage.digest import digest
from workers.data.parts import parts_of
from workers.data.sources import find_sources


def test_rows_are_handed_on_while_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_made = 0
    real = scan.canonical

    def counted(*arguments: object) -> object:
        nonlocal num_made
        num_made += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(scan, "canonical", counted)
    rows = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(10_000))
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_text(rows)
    spec = DataSpec(path=str(tmp_path))
    (part,) = parts_of(spec, SftSpec())
    files = find_sources(part, lambda path, key: None, ["text"])
    made_at, places = [], []
    for batch in scan.read_rows(files, 0, part, spec, None):
        made_at.append(num_made)
        places += list(zip(batch["file"].to_pylist(), batch["row"].to_pylist(), strict=True))
    assert places == [(file, row) for file in range(3) for row in range(1, 10_001)]
    assert made_at[0] < num_made == 30


def test_shards_are_the_rows_of_their_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {number} " + "x" * 900}) + "\n\n" for number in range(2000)))
    spec = DataSpec(path=str(path))
    (part,) = parts_of(spec, SftSpec())
    (whole,) = find_sources(part, lambda path, key: None, ["text"])
    cut = replace(whole, shards=digest(path, shard_bytes=1 << 20).shards)
    assert len(cut.shards) == 3
    expected, found = (
        pa.Table.from_batches(scan.read_rows([file], 0, part, spec, None)).select(["row", "text"])
        for file in (whole, cut)
    )
    assert found == expected
    assert found["row"].to_pylist() == list(range(1, 4000, 2))
