"""Rows come in order, and before all of them were read."""

import json
from pathlib import Path

import pytest

from luthier.spec import DataSpec, SftSpec
from workers.data import scan
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
