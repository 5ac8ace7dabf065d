"""How long rows are is known without writing them out, whatever form their column has."""

import numpy as np
import pyarrow as pa
import pytest

from workers.data.files import row_bytes as module
from workers.data.files.row_bytes import pieces, repeats, row_bytes

LONG = "x" * 1000
TEXTS = ["ab", LONG, None, ""]
SIZES = [2, 1000, 0, 0]
UNION = pa.UnionArray.from_dense(
    pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 0], pa.int32()), [pa.array([LONG]), pa.array([1])]
)
COLUMNS = {
    "text": (pa.array(TEXTS), SIZES),
    "large text": (pa.array(TEXTS, pa.large_string()), SIZES),
    "bytes": (pa.array([b"abc", None]), [3, 0]),
    "views": (pa.array(TEXTS, pa.string_view()), SIZES),
    "numbers": (pa.array([1, None, 3]), [8, 8, 8]),
    "truths": (pa.array([True, False]), [1, 1]),
    "nothing": (pa.nulls(3), [0, 0, 0]),
    "empty objects": (pa.array([{}, {}], pa.struct([])), [0, 0]),
    "empty lists": (pa.array([[], []], pa.list_(pa.int8(), 0)), [0, 0]),
    "empty bytes": (pa.array([b"", b""], pa.binary(0)), [0, 0]),
    "a dictionary": (pa.array([LONG, "ab", None, LONG]).dictionary_encode(), [1000, 2, 0, 1000]),
    "runs": (pa.RunEndEncodedArray.from_arrays([2, 5], [LONG, "ab"]), [1000, 1000, 2, 2, 2]),
    "lists of numbers": (pa.array([[1, 2], None, []]), [16, 0, 0]),
    "lists of text": (pa.array([["ab", LONG], None, ["c"]]), [1002, 0, 1]),
    "lists of one length": (pa.array([["a", "bc"], None], pa.list_(pa.string(), 2)), [3, 0]),
    "lists that overlap": (
        pa.ListViewArray.from_arrays([0, 0, 1], [2, 1, 1], pa.array(["ab", LONG])),
        [1002, 2, 1000],
    ),
    "objects": (pa.array([{"a": "x", "b": 1}, {"a": LONG, "b": None}]), [9, 1008]),
    "maps": (pa.array([[("k", LONG)], None], pa.map_(pa.string(), pa.string())), [1001, 0]),
    "one of several": (UNION, [1008, 1008, 1008]),
    "messages": (
        pa.array([[{"role": "user", "content": "hello"}, {"role": "bot", "content": "x"}]] * 2),
        [13, 13],
    ),
}
SHARED = {
    "nothing",
    "empty objects",
    "empty lists",
    "empty bytes",
    "views",
    "a dictionary",
    "runs",
    "lists that overlap",
    "one of several",
}


def _batch(column):
    return pa.record_batch([column], ["a"])


@pytest.mark.parametrize("name", COLUMNS)
def test_bytes_of_rows(name):
    column, expected = COLUMNS[name]
    assert (row_bytes(_batch(column)) - 1).tolist() == expected
    assert repeats(column.type) == (name in SHARED)


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "one of several"])
def test_bytes_of_rows_in_the_middle(name):
    column, expected = COLUMNS[name]
    assert (row_bytes(_batch(column.slice(1, 1))) - 1).tolist() == expected[1:2]


def test_what_lies_within_is_looked_into():
    assert repeats(pa.list_(pa.struct([("a", pa.dictionary(pa.int8(), pa.string()))])))
    assert not repeats(pa.list_(pa.struct([("a", pa.string())])))


def test_pieces_are_all_rows_in_order_and_small(monkeypatch):
    monkeypatch.setattr(module, "PIECE_BYTES", 100)
    texts = ["x" * size for size in np.random.default_rng(0).integers(0, 90, 200)]
    found = list(pieces(_batch(pa.array(texts))))
    assert [text for piece in found for text in piece["a"].to_pylist()] == texts
    assert all(piece.num_rows == 1 or row_bytes(piece).sum() <= 100 for piece in found)
    assert len(found) < 150


def test_a_million_rows_of_one_long_value_are_cut_without_being_written_out():
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * (1 << 20)]))
    before = pa.total_allocated_bytes()
    first = next(iter(pieces(_batch(column))))
    assert first.num_rows == 15
    assert pa.total_allocated_bytes() - before < 1 << 24


def test_a_batch_without_columns_keeps_its_rows():
    batch = _batch(pa.array([1, 2, 3])).select([])
    assert [piece.num_rows for piece in pieces(batch)] == [3]
