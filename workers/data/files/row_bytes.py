"""What the rows of an Arrow batch take once each of them is written out, and pieces of a batch that take little.

A batch may hold one long value and refer to it from a million rows: by a dictionary, by runs, by views. So a batch that
is small in memory can be gigabytes of rows. Nothing here writes a row out to know how long it is.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc
from pyarrow import types

PIECE_BYTES = 1 << 24
"""About so much of rows is in memory at once; a single row may be longer."""

Lengths = NDArray[np.int64]
"""Of shape (number of values,), in bytes."""

_VIEW_INTS = 4
"""A view is 16 bytes, of which the first four are its length (Arrow columnar format, variable-size binary view)."""


def row_bytes(batch: pa.RecordBatch) -> Lengths:
    """About how many bytes each row of a valid batch takes, at least one; names of columns left out."""
    return sum((_lengths(column) for column in batch.columns), np.ones(batch.num_rows, np.int64))


def pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows of a valid batch in order, `PIECE_BYTES` at a time, or one row that is longer."""
    ends = row_bytes(batch).cumsum()
    start, before = 0, 0
    while start < batch.num_rows:
        stop = max(start + 1, int(np.searchsorted(ends, before + PIECE_BYTES, side="right")))
        yield batch.slice(start, stop - start)
        start, before = stop, int(ends[stop - 1])


def repeats(kind: pa.DataType) -> bool:
    """Whether values of this type, or within it, may share their bytes, or take none."""
    if any(test(kind) for test in _SHARED):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return repeats(kind.storage_type)
    return any(repeats(kind.field(number).type) for number in range(kind.num_fields))


def _takes_nothing(kind: pa.DataType) -> bool:
    is_empty_struct = types.is_struct(kind) and not kind.num_fields
    is_empty_list = types.is_fixed_size_list(kind) and not kind.list_size
    return types.is_null(kind) or is_empty_struct or is_empty_list or kind == pa.binary(0)


def _lengths(array: pa.Array) -> Lengths:
    if isinstance(array, pa.ExtensionArray):
        return _lengths(array.storage)
    rule = next((rule for test, rule in _RULES if test(array.type)), None)
    return rule(array) if rule else np.full(len(array), _width(array.type), np.int64)


def _width(kind: pa.DataType) -> int:
    return 0 if _takes_nothing(kind) else max(1, kind.bit_width // 8)


def _of_text(array: pa.Array) -> Lengths:
    return _filled(pc.binary_length(array))


def _of_views(array: pa.Array) -> Lengths:
    heads = np.frombuffer(array.buffers()[1], np.int32)[::_VIEW_INTS]
    own = heads[array.offset : array.offset + len(array)]
    return np.where(array.is_valid().to_numpy(zero_copy_only=False), own, 0).astype(np.int64)


def _of_dictionary(array: pa.Array) -> Lengths:
    return _filled(pa.array(_lengths(array.dictionary)).take(array.indices))


def _of_runs(array: pa.Array) -> Lengths:
    ends = array.run_ends.to_numpy().astype(np.int64)
    run = np.searchsorted(ends, np.arange(array.offset, array.offset + len(array)), side="right")
    return _lengths(array.values)[run]


def _of_struct(array: pa.Array) -> Lengths:
    return sum((_lengths(field) for field in array.flatten()), np.zeros(len(array), np.int64))


def _of_list(array: pa.Array) -> Lengths:
    sizes = _filled(pc.list_value_length(array))
    return _of_spans(array.flatten(), sizes.cumsum() - sizes, sizes)


def _of_map(array: pa.Array) -> Lengths:
    return _of_list(array.cast(pa.list_(array.type.field(0).type)))


def _of_list_view(array: pa.Array) -> Lengths:
    there = array.is_valid().to_numpy(zero_copy_only=False)
    starts, sizes = (np.where(there, part.to_numpy(), 0).astype(np.int64) for part in (array.offsets, array.sizes))
    return _of_spans(array.values, starts, sizes)


def _of_union(array: pa.Array) -> Lengths:
    """At most: the longest value of each kind, for which one a row holds would have to be looked up."""
    longest = (_lengths(array.field(number)).max(initial=0) for number in range(array.type.num_fields))
    return np.full(len(array), sum(longest), np.int64)


def _of_spans(values: pa.Array, starts: Lengths, sizes: Lengths) -> Lengths:
    if not values.type.num_fields and not any(test(values.type) for test, _ in _RULES):
        return sizes * _width(values.type)  # without a number for each of them
    before = np.concatenate([np.zeros(1, np.int64), _lengths(values).cumsum()])
    spans: Lengths = before[starts + sizes] - before[starts]
    return spans


def _filled(lengths: pa.Array) -> Lengths:
    filled: Lengths = pc.fill_null(lengths, 0).to_numpy().astype(np.int64)
    return filled


_Test = Callable[[pa.DataType], bool]
_VIEWS: tuple[_Test, ...] = (types.is_string_view, types.is_binary_view)
_LIST_VIEWS: tuple[_Test, ...] = (types.is_list_view, types.is_large_list_view)
_SHARED: tuple[_Test, ...] = (
    types.is_dictionary,
    types.is_run_end_encoded,
    types.is_union,
    _takes_nothing,
    *_VIEWS,
    *_LIST_VIEWS,
)
_RULES: tuple[tuple[_Test, Callable[[pa.Array], Lengths]], ...] = (
    (types.is_string, _of_text),
    (types.is_large_string, _of_text),
    (types.is_binary, _of_text),
    (types.is_large_binary, _of_text),
    (types.is_dictionary, _of_dictionary),
    (types.is_run_end_encoded, _of_runs),
    (types.is_struct, _of_struct),
    (types.is_union, _of_union),
    (types.is_map, _of_map),
    (types.is_list, _of_list),
    (types.is_large_list, _of_list),
    (types.is_fixed_size_list, _of_list),
    *((test, _of_views) for test in _VIEWS),
    *((test, _of_list_view) for test in _LIST_VIEWS),
)
"""By type; the first that fits. Any other type has values of equal width."""
