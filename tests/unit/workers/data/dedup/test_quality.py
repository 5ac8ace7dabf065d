"""Floors under what is found among injected duplicates; `benchmarks/dedup_quality.py` prints the figures."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet as pq

from benchmarks.support.duplicates import Injected, inject, quality


@pytest.fixture(scope="module")
def injected() -> Injected:
    return inject(num_chats=600, num_copies=50)


def _write(path: Path, chats: Sequence[Sequence[str]]) -> Path:
    rows = [{"prompt": " ".join(chat[:-10]), "completion": " ".join(chat[-10:])} for chat in chats]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("threshold", "floors"),
    [
        (0.6, {"5 % edited": 1.0, "10 % edited": 0.95, "precision": 0.99}),
        (0.7, {"5 % edited": 0.95, "10 % edited": 0.55, "precision": 0.99}),
        (0.8, {"5 % edited": 0.75, "precision": 0.99}),
    ],
)
def test_injected_duplicates_are_found_and_little_else(
    tmp_path: Path,
    run: Callable[..., Any],
    injected: Injected,
    threshold: float,
    floors: dict[str, float],
) -> None:
    path = _write(tmp_path / "chats.jsonl", injected.chats)
    folder, outcome = run(path, deduplicate={"near": {"threshold": threshold}})
    assert outcome.ledger.counts["duplicate"] == 50
    labels = [-row for row in range(len(injected.chats))]
    for row in pq.read_table(folder / "clusters.parquet").to_pylist():
        labels[row["row"] - 1] = 1 + row["cluster"]
    found = quality(injected, labels)
    assert {name: found[name] for name in floors if found[name] < floors[name]} == {}
