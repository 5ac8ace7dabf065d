"""Work on many things in several processes: the same rows in the same order as in one."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from workers.data import scan, sources
from workers.data.engine.fan_out import fan_out
from workers.data.lineage import digest
from workers.data.storage import tables
from workers.data.tokens import tokenise
from workers.data.tokens.encode import Encoder

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64()), ("process", pa.int64())])


@dataclass
class Counting:
    """As many rows as the thing says."""

    step: int

    def __call__(self, thing: dict[str, Any]) -> pa.Table:
        size = thing["size"]
        columns = [[thing["name"]] * size, [self.step * n for n in range(size)], [os.getpid()] * size]
        return pa.table(columns, schema=SCHEMA)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_rows_come_in_the_order_of_the_things(num_processes: int) -> None:
    sizes = {"a": 3, "b": 0, "c": 1, "d": 2000, "e": 0}
    things = pa.table({"name": list(sizes), "size": list(sizes.values())})
    rows = pa.Table.from_batches(fan_out(things, Counting(2), SCHEMA, num_processes)).to_pydict()
    expected = [(name, 2 * n) for name, size in sizes.items() for n in range(size)]
    assert list(zip(rows["name"], rows["number"], strict=True)) == expected
    assert (os.getpid() in rows["process"]) == (num_processes == 1)


def test_a_dataset_is_the_same_for_any_number_of_processes(
    write_rows: Callable[..., Path], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["one", "two", "three", "four", "five"]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{words[n % 5]} and {words[n % 3]} {n // 2}?"},
                {"role": "assistant", "content": f"It is {n}, says {words[n % 4]}." * (n % 7)},
            ]
        }
        for n in range(400)
    ]
    path = write_rows(rows)
    with path.open("a") as file:
        file.write("{broken\n\n")
    monkeypatch.setattr(sources, "digest", partial(digest.digest, shard_bytes=1 << 13))
    # One block of the file, of which the digest makes at most one shard.
    monkeypatch.setattr(digest, "_BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr(tables, "_PART_ROWS", 10)
    monkeypatch.setattr(tables, "_BLOCK_ROWS", 10)
    folders, outcomes = [], []
    for num_cores in (1, 2):
        for module in (scan, tokenise):
            monkeypatch.setattr(module, "num_side_by_side", lambda num_cores=num_cores: num_cores)
        folder, outcome = run(path, on_invalid_row="drop")
        folders.append(folder)
        outcomes.append(outcome)
    one, two = ({file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders)
    assert outcomes[0].ledger == outcomes[1].ledger
    assert len(outcomes[1].files[0].shards) >= 4
    assert one == two


def test_what_is_found_out_about_the_encoder_is_told(
    write_rows: Callable[..., Path], run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "warnings", ["fastokens read a row otherwise"])
    _, outcome = run(write_rows([{"text": f"row {n}"} for n in range(5)]))
    assert outcome.tallies[0].warnings == {"fastokens read a row otherwise"}
