"""Parquet, row group by row group; only the wanted columns are read, a little at a time.

A column keeps a value that comes often once, in a dictionary, and a run of equal values as their number, so that a few
bytes may be gigabytes of rows. A column of text that is all dictionary is therefore read as one, and written out a
little at a time. One that goes on without its dictionary, as long texts do, cannot be: Arrow would keep every value of
the row group. Of it so many rows are read at once as are small even if each is as long as the longest that refers to
the dictionary. What pages unpack to, and what rows take that are longer than they are in the file, is counted before a
row is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.files.parquet_sizes import Chunk, Group, Holds, groups, pages
from workers.data.files.ratio import why_too_much
from workers.data.files.record import Record
from workers.data.files.row_bytes import PIECE_BYTES, pieces, repeats, row_bytes
from workers.data.files.tables import BATCH_ROWS, check_columns, check_fetched, records_of
from workers.data.problems import Unit
from workers.failures import DataError

MAX_PAGE_BYTES = 1 << 29
"""Of a page, unpacked: it is in memory as a whole, some of it twice. Writers make pages of about 1 MiB, or of a
thousand rows if those are longer."""
_ALL_DICTIONARY: set[Holds] = {"dictionary", "references"}
_BUFFER_BYTES = 1 << 20
"""Of the file at once, for each column; by itself Arrow holds all of a row group."""


def columns(path: str) -> list[str]:
    """Top-level columns of the file's schema.

    Raises:
        DataError: it is not a Parquet file, has a column twice, or unpacks to far more than it is.
    """
    check_fetched(path)
    try:
        with _opened(path) as file:
            names = check_columns(file.schema_arrow.names, path)
        _check_pages(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}; expected a file with Parquet footer") from error
    _check_rows(path)
    return names


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row as a JSON object with the wanted columns; null stays null."""
    yield from records_of(_written_out(path, wanted))


def unit(path: str) -> Unit:
    """Rows."""
    return "row"


def _written_out(path: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _opened(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow if field.name in wanted}
    for batch in _batches(path, list(kinds)):
        for piece in pieces(batch):
            written = {name: _as(piece[name], kind) for name, kind in kinds.items()}
            yield pa.record_batch(written) if written else piece


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as its file has it; what is a dictionary there may stay one."""
    return column if column.type == kind or repeats(kind) else column.cast(kind)


def _batches(path: str, chosen: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows, columns of text that are all dictionary as such."""
    texts = _texts(path)
    for number, group in enumerate(groups(path)):
        # One by one, for each has dictionaries of its own, which Arrow cannot join within lists.
        wanted = {name: _held(path, group.chunks[place]) for place, name in texts.items() if _top(name, chosen)}
        longest = (_longest_row(path, number, name, held) for name, held in wanted.items())
        num_rows = max(1, min(_batch_rows(group), PIECE_BYTES // max([1, *longest])))
        with _opened(path, [name for name, held in wanted.items() if held.keys() == _ALL_DICTIONARY]) as file:
            yield from file.iter_batches(num_rows, row_groups=[number], columns=chosen)


def _texts(path: str) -> dict[int, str]:
    """The path of each column of text by its number; columns within columns have their own."""
    with _opened(path) as file:
        leaves = [file.schema.column(number) for number in range(len(file.schema))]
    return {number: leaf.path for number, leaf in enumerate(leaves) if leaf.physical_type == "BYTE_ARRAY"}


def _top(name: str, chosen: Sequence[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in chosen)


def _held(path: str, chunk: Chunk) -> dict[Holds, int]:
    """What the pages hold, and the bytes of the largest of each kind."""
    held: dict[Holds, int] = {}
    for page in pages(path, chunk):
        held[page.holds] = max(page.unpacked, held.get(page.holds, 0))
    return held


def _longest_row(path: str, group: int, name: str, held: Mapping[Holds, int]) -> int:
    """At least of those that may be longer than what stands for them in the file, in bytes; of a list, its elements."""
    if "prefixes" in held:
        return max(held.values())
    if "references" not in held or held.keys() == _ALL_DICTIONARY:
        return 0
    return max((int(row_bytes(batch).max(initial=0)) for batch in _referring(path, group, name)), default=0)


def _expanding(path: str, group: int, name: str, held: Mapping[Holds, int]) -> Iterator[pa.RecordBatch]:
    """The rows that may be longer than what stands for them in the file."""
    if "prefixes" in held:
        with _opened(path) as file:
            num_rows = max(1, PIECE_BYTES // max(1, *held.values()))
            yield from file.iter_batches(min(BATCH_ROWS, num_rows), row_groups=[group], columns=[name])
    elif "references" in held:
        yield from _referring(path, group, name)


def _referring(path: str, group: int, name: str) -> Iterator[pa.RecordBatch]:
    """The rows of a column of text that refer to its dictionary, and a batch more: it grows by those that do not."""
    with _opened(path, [name]) as file:
        num_values = None
        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=[name]):
            yield batch
            found = _num_values(batch.column(0))
            if num_values is not None and found > num_values:
                return
            num_values = found


def _num_values(column: pa.Array) -> int:
    """Of the dictionary at the end of a column that has columns within, one in each."""
    while not isinstance(column, pa.DictionaryArray):
        column = column.field(0) if isinstance(column, pa.StructArray) else column.values
    return len(column.dictionary)


def _check_pages(path: str) -> None:
    """
    Raises:
        DataError: its pages take far more than the file, or one of them more than a machine should give.
        pa.ArrowInvalid: what they take cannot be told, for the file is damaged.
    """
    _check_size(path, sum(group.num_bytes for group in groups(path)))
    num_bytes = 0
    for chunk in (chunk for group in groups(path) for chunk in group.chunks):
        for page in pages(path, chunk):
            if page.unpacked > MAX_PAGE_BYTES:
                raise DataError(
                    f"{path}: a page of {page.packed} bytes unpacks to {page.unpacked >> 20} MiB in memory, over "
                    f"{MAX_PAGE_BYTES >> 20}; write the file with smaller pages (pyarrow: write_batch_size)"
                )
            num_bytes += page.unpacked
            _check_size(path, num_bytes)


def _check_rows(path: str) -> None:
    """Counts what rows take that may be longer than in the file, and leaves what is damaged to whoever reads it.

    Raises:
        DataError: it is far more than the file.
    """
    num_bytes = 0
    try:
        texts = _texts(path)
        for number, group in enumerate(groups(path)):
            for place, name in texts.items():
                for batch in _expanding(path, number, name, _held(path, group.chunks[place])):
                    num_bytes += int(row_bytes(batch).sum())
                    _check_size(path, num_bytes)
    except (pa.ArrowException, OSError):
        return


def _check_size(path: str, num_bytes: int) -> None:
    if fault := why_too_much(Path(path).stat().st_size, num_bytes):
        raise DataError(f"{path}: {fault}")


def _batch_rows(group: Group) -> int:
    """So many rows take about `PIECE_BYTES`, or are `BATCH_ROWS`."""
    one_row = group.num_bytes // max(1, group.num_rows)
    return max(1, min(BATCH_ROWS, PIECE_BYTES // max(1, one_row)))


@contextmanager
def _opened(path: str, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """The file, whose columns `dictionaries` are read as such."""
    options = {"pre_buffer": False, "buffer_size": _BUFFER_BYTES, "page_checksum_verification": True}
    with pq.ParquetFile(path, read_dictionary=list(dictionaries), **options) as file:
        yield file
