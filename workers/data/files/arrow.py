"""Arrow IPC, both of its forms: the file (Feather) and the stream, which is what `datasets` keeps.

Mapped into memory, a batch at a time; only the wanted columns are read. Every batch is checked in full before it is
looked into, for Arrow trusts the offsets that a file names. What batches unpack to, and what their rows take written
out, is counted before the first row is read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from workers.data.files.ipc_sizes import batch_sizes
from workers.data.files.ratio import why_too_much
from workers.data.files.record import Record
from workers.data.files.row_bytes import pieces, repeats, row_bytes
from workers.data.files.tables import BATCH_ROWS, check_columns, check_fetched, records_of
from workers.data.problems import Unit
from workers.failures import DataError

_FILE_MAGIC = b"ARROW1"
_END_OF_STREAM = bytes(4)
MAX_BATCH_BYTES = 1 << 31
"""Of a compressed batch, unpacked: it is in memory as a whole."""


def columns(path: str) -> list[str]:
    """Top-level columns of the file's schema.

    Raises:
        DataError: it is not an Arrow file, has a column twice, or unpacks to far more than it is.
    """
    check_fetched(path)
    try:
        with _opened(path, None) as reader:
            names = check_columns(reader.schema.names, path)
            kinds = list(reader.schema.types)
        _check_batches(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as Arrow: {error}; expected an Arrow IPC file or stream") from error
    _check_rows(path, [number for number, kind in enumerate(kinds) if repeats(kind)])
    return names


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row as a JSON object with the wanted columns; null stays null."""
    yield from records_of(_small(path, wanted))


def unit(path: str) -> Unit:
    """Rows."""
    return "row"


def _small(path: str, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _opened(path, None) as reader:
        chosen = [index for index, name in enumerate(reader.schema.names) if name in wanted]
    for batch in _batches(path, chosen):
        yield from pieces(batch)


def _check_batches(path: str) -> None:
    """
    Raises:
        DataError: its compressed batches take far more than the file, or one of them more than a machine should give.
        pa.ArrowInvalid: what they take cannot be told, for the file is damaged.
    """
    num_bytes = 0
    for size in batch_sizes(path, is_file=_is_file(path)):
        if size.unpacked > MAX_BATCH_BYTES:
            raise DataError(
                f"{path}: a batch of {size.packed} bytes unpacks to {size.unpacked >> 20} MiB in memory, over "
                f"{MAX_BATCH_BYTES >> 20}; write the file with fewer rows to a batch, or without compression"
            )
        num_bytes += size.unpacked
        _check_size(path, num_bytes)


def _check_rows(path: str, chosen: list[int]) -> None:
    """Counts what the rows take in columns whose values may share their bytes.

    Raises:
        DataError: it is far more than the file.
    """
    num_bytes = 0
    try:
        for batch in _batches(path, chosen) if chosen else ():
            num_bytes += int(row_bytes(batch).sum())
            _check_size(path, num_bytes)
    except (pa.ArrowException, OSError):
        return  # whoever reads it says where it is damaged


def _check_size(path: str, num_bytes: int) -> None:
    if fault := why_too_much(Path(path).stat().st_size, num_bytes):
        raise DataError(f"{path}: {fault}")


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
