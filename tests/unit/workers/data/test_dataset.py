"""Splits as files that are mapped into memory."""

import multiprocessing
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workers.data.dataset import SCHEMA, Split, load_split, open_split, split_path, write_split
from workers.failures import DataError


def _write(folder: Path, num_rows: int, length: int = 8) -> Path:
    """Rows of the tokens `row, row + 1, ...`, all but the first of them targets."""
    ids = [list(range(row, row + length)) for row in range(num_rows)]
    rows = [
        {"row": row + 1, "source": "a.jsonl", "input_ids": ids[row], "trainable": [False] + [True] * (length - 1)}
        for row in range(num_rows)
    ]
    write_split(folder, "train", rows)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split of several batches, some 20 MB."""
    folder = tmp_path_factory.mktemp("large")
    num_rows, length = 5000, 200
    tokens = pa.array(np.arange(num_rows * length, dtype=np.int32))
    offsets = pa.array(np.arange(num_rows + 1, dtype=np.int32) * length)
    columns = {field.name: pa.nulls(num_rows, field.type) for field in SCHEMA}
    columns |= {
        "row": pa.array(range(1, num_rows + 1)),
        "source": pa.array(["a.jsonl"] * num_rows),
        "input_ids": pa.ListArray.from_arrays(offsets, tokens),
        "trainable": pa.ListArray.from_arrays(offsets, pa.array(np.ones(num_rows * length, np.uint8))),
    }
    with open_split(folder, "train") as table:
        for _ in range(4):
            table.write(pa.table(columns))
            table.flush()
    return folder


def test_rows_are_found_from_both_ends_and_across_batches(large: Path) -> None:
    split = load_split(large, "train")
    assert len(split) == 20000
    assert [example.row for example in split[4998:5003]] == [4999, 5000, 1, 2, 3]
    assert split[-1].row == split[19999].row == 5000
    assert split[5001].input_ids.tolist() == list(range(200, 400))
    assert [example.row for example in split] == [example.row for example in split[:]]
    for index in (20000, -20001):
        with pytest.raises(IndexError):
            split[index]


def test_everything_that_a_row_may_have_comes_back(tmp_path: Path) -> None:
    row = {
        "row": 3,
        "source": "a.jsonl",
        "input_ids": [1, 2],
        "trainable": [False, True],
        "messages": '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]',
        "weights": [0.0, 0.5],
        "rejected_ids": [1, 2, 3],
        "rejected_trainable": [False, True, True],
        "label": "good",
        "component": "chat",
    }
    write_split(tmp_path, "test", [row, {"row": 4, "source": "a.jsonl", "input_ids": [], "trainable": []}])
    full, bare = load_split(tmp_path, "test")
    assert (full.prompt, full.reference) == ([{"role": "user", "content": "a"}], "b")
    assert full.trainable.dtype == np.bool_
    assert (full.weights.tolist(), full.rejected.input_ids.tolist()) == ([0.0, 0.5], [1, 2, 3])
    assert full.rejected.trainable.tolist() == [False, True, True]
    assert (full.label, full.component) == ("good", "chat")
    assert (bare.messages, bare.weights, bare.rejected, bare.label, bare.component) == (None, None, None, None, "")
    assert load_split(tmp_path, "test", conversations=False)[0].messages is None


def test_arrays_are_views_into_the_mapped_file(large: Path) -> None:
    split = load_split(large, "train")
    mapped = _mapped_ranges(split_path(large, "train"))
    for example in (split[0], split[12345], split[-1]):
        for array in (example.input_ids, example.trainable):
            assert any(start <= array.ctypes.data < end for start, end in mapped)
            assert not array.flags.writeable
            assert not array.flags.owndata


def test_two_processes_share_the_pages(large: Path) -> None:
    split = load_split(large, "train")
    assert len(pickle.dumps(split)) < 500, "it travels as a path"
    ours = _sum(split)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        theirs, resident, proportional = pool.apply(_read_all, (split,))
    size = split_path(large, "train").stat().st_size
    assert theirs == ours
    assert resident > 0.9 * size
    assert proportional < 0.6 * resident, "each page counts half, because two processes have it"


def test_lengths_are_known_without_looking_at_tokens(large: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        total, resident = pool.apply(_read_lengths, (large,))
    assert total == 20000 * 200
    assert resident < split_path(large, "train").stat().st_size / 4


def test_memory_does_not_grow_with_the_rows(large: Path) -> None:
    load_split(large, "train")
    tracemalloc.start()
    split = load_split(large, "train")
    assert split.lengths.sum() == 20000 * 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(split) < 12, "bytes of a row: its length, twice while it is put together"


def test_batches_are_bounded(tmp_path: Path) -> None:
    _write(tmp_path, 40000, length=1)
    reader = pa.ipc.open_file(pa.memory_map(str(split_path(tmp_path, "train"))))
    assert max(reader.get_batch(number).num_rows for number in range(reader.num_record_batches)) == 8192
    assert reader.schema.metadata == SCHEMA.metadata


def test_what_is_not_a_split_of_this_version_is_refused(tmp_path: Path) -> None:
    path = split_path(tmp_path, "train")
    with pytest.raises(DataError, match=r"not a split of a dataset artifact.*submit the job again"):
        load_split(tmp_path, "train")
    pq.write_table(pa.table({"row": [1]}), path)
    with pytest.raises(DataError, match="not a split of a dataset artifact"):
        load_split(tmp_path, "train")
    for metadata, found in (({b"luthier.split": b"7"}, "version 7, and this is version 4"), (None, "version none")):
        with pa.ipc.new_file(path, SCHEMA.with_metadata(metadata)):
            pass
        with pytest.raises(DataError, match=f"{found}.*submit the job again"):
            load_split(tmp_path, "train")
    with pa.ipc.new_file(path, pa.schema([("row", pa.int64())], metadata=SCHEMA.metadata)):
        pass
    with pytest.raises(DataError, match="does not have the columns of a split"):
        load_split(tmp_path, "train")


def test_of_a_row_with_a_set_of_classes_an_empty_set_is_not_none(tmp_path: Path) -> None:
    rows = [{"row": 1, "source": "a.jsonl", "input_ids": [1], "trainable": [False]} for _ in range(3)]
    sets = ['["billing", "späť"]', "[]", None]
    write_split(tmp_path, "train", [row | {"labels": labels} for row, labels in zip(rows, sets, strict=True)])
    assert [example.labels for example in load_split(tmp_path, "train")] == [("billing", "späť"), (), None]


@pytest.mark.parametrize(("version", "lacking"), [(b"2", ["difficulty", "labels"]), (b"3", ["labels"])])
def test_a_split_from_before_some_columns_is_read_as_one_that_says_nothing_of_them(
    tmp_path: Path, version: bytes, lacking: list[str]
) -> None:
    _write(tmp_path, 3)
    path = split_path(tmp_path, "train")
    with pa.ipc.open_file(path) as reader:
        table = reader.read_all()
    earlier = table.drop_columns(lacking).replace_schema_metadata({b"luthier.split": version})
    with pa.ipc.new_file(path, earlier.schema) as writer:
        writer.write_table(earlier)
    split = load_split(tmp_path, "train")
    assert [(example.difficulty, example.labels) for example in split] == [(None, None)] * 3
    assert np.isnan(split.difficulties).tolist() == [True] * 3
    with pa.ipc.new_file(path, table.schema.with_metadata({b"luthier.split": version})):
        pass
    with pytest.raises(DataError, match="does not have the columns of a split"):
        load_split(tmp_path, "train")


def _sum(split: Split) -> int:
    return sum(int(example.input_ids.sum()) + int(example.trainable.sum()) for example in split)


def _read_all(split: Split) -> tuple[int, int, int]:
    total = _sum(split)
    path = split_path(Path(split._path).parent, "train")
    return total, _of_mapping(path, "Rss"), _of_mapping(path, "Pss")


def _read_lengths(folder: Path) -> tuple[int, int]:
    split = load_split(folder, "train")
    return int(split.lengths.sum()), _of_mapping(split_path(folder, "train"), "Rss")


def _mapped_ranges(path: Path) -> list[tuple[int, int]]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(os.path.realpath(path))]
    return [(int(start, 16), int(end, 16)) for start, end in spans]


def _of_mapping(path: Path, name: str) -> int:
    """Bytes that smaps(5) tells of a mapped file."""
    total, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            is_ours = line.endswith(os.path.realpath(path))
        elif is_ours and first == f"{name}:":
            total += int(line.split()[1]) * 1024
    return total
