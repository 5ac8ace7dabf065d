"""Arrow IPC, both of its forms: the file (Feather) and the stream, which is what `datasets` keeps.

Mapped into memory, a batch at a time; only the wanted columns are read. Every batch is checked in full before it is
looked into, for Arrow trusts the offsets that a file names.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from workers.data.files.record import Record
from workers.data.files.tables import BATCH_ROWS, check_columns, records_of
from workers.data.problems import Unit
from workers.failures import DataError

_FILE_MAGIC = b"ARROW1"
_END_OF_STREAM = bytes(4)


def columns(path: str) -> list[str]:
    """Top-level columns of the file's schema.

    Raises:
        DataError: it is not an Arrow file, or has a column twice.
    """
    try:
        with _opened(path, None) as reader:
            return check_columns(reader.schema.names, path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Arrow: {error}; expected an Arrow IPC file or stream") from error


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row as a JSON object with the wanted columns; null stays null."""
    chosen = [index for index, name in enumerate(columns(path)) if name in wanted]
    yield from records_of(_batches(path, chosen))


def unit(path: str) -> Unit:
    """Rows."""
    return "row"


def _batches(path: str, chosen: list[int]) -> Iterator[pa.RecordBatch]:
    with _opened(path, chosen) as reader:
        for batch in _all_of(reader):
            for start in range(0, batch.num_rows, BATCH_ROWS):
                piece = batch.slice(start, BATCH_ROWS)
                _check(piece)
                yield piece
    if not _is_file(path) and not _has_end(path):
        raise pa.ArrowInvalid("the stream ends without its end mark, so rows are missing; copy the file again")


def _all_of(reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        return (reader.get_batch(index) for index in range(reader.num_record_batches))
    return iter(reader)


def _check(piece: pa.RecordBatch) -> None:
    """
    Raises:
        pa.ArrowInvalid: its buffers are not those of such a batch. Text that is not UTF-8 is a matter of its row.
    """
    for column in piece.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            # Inside other values it may hide a wrong offset behind it.
            if pa.types.is_nested(column.type) or "UTF8" not in str(error):
                raise


@contextmanager
def _opened(path: str, chosen: list[int] | None) -> Iterator[pa.RecordBatchFileReader | pa.RecordBatchStreamReader]:
    options = pa.ipc.IpcReadOptions(included_fields=chosen)
    with pa.memory_map(path) as stream:
        opened = pa.ipc.open_file if _is_file(path) else pa.ipc.open_stream
        with opened(stream, options=options) as reader:
            yield reader


def _is_file(path: str) -> bool:
    with open(path, "rb") as stream:
        return stream.read(len(_FILE_MAGIC)) == _FILE_MAGIC


def _has_end(path: str) -> bool:
    with open(path, "rb") as stream:
        stream.seek(-len(_END_OF_STREAM), 2)
        return stream.read() == _END_OF_STREAM
