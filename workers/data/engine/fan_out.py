"""Things of which each becomes many rows, by Daft: in this process, or in several side by side.

The rows come in the order of the things, whichever is done first, so that nothing depends on the number of processes. A
thing is small (a place in a file), its rows fit into memory several times, and no more things are under way than are
being worked on or waited for.
"""

import gc
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa

from workers.data.engine import daft


class Work(Protocol):
    """Makes rows of a thing. It is pickled for each process, so what is large in it is better made there."""

    def __call__(self, thing: dict[str, Any], /) -> pa.Table:
        """All rows of a thing, which is a row of the table of things."""
        ...


def fan_out(things: pa.Table, work: Work, schema: pa.Schema, num_processes: int) -> Iterator[pa.RecordBatch]:
    """What `work` makes of each of the things, in batches of `schema`.

    Args:
        num_processes: 1 means this one.
    """
    struct = pa.struct(list(schema))
    names = things.column_names
    is_split = num_processes > 1

    # Made here, because Daft wants to know the type of the rows when the method is defined. A concurrency means
    # processes to it, even one.
    @daft.cls(use_process=is_split, max_concurrency=num_processes if is_split else None)
    class Worker:
        def __init__(self) -> None:
            if is_split:
                # What was imported stays; to look at it with every collection of garbage takes longer than the work.
                gc.freeze()

        @daft.method.batch(return_dtype=daft.DataType.from_arrow_type(pa.large_list(struct)), batch_size=1)
        def rows_of(self, *columns: Any) -> pa.Array:
            values = [column.to_arrow().to_pylist() for column in columns]
            (thing,) = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
            batches = work(thing).combine_chunks().to_batches()
            rows = batches[0].to_struct_array().cast(struct) if batches else pa.array([], struct)
            return pa.LargeListArray.from_arrays(pa.array([0, len(rows)], pa.int64()), rows)

    column = daft.col
    rows = Worker().rows_of(*(column(name) for name in names))
    # Of a thing without rows `explode` makes a row without values.
    table = daft.from_arrow(things).select(rows.alias("rows")).explode("rows").where(column("rows").not_null())
    yield from table.select(*(column("rows").get(name).alias(name) for name in schema.names)).to_arrow_iter()
