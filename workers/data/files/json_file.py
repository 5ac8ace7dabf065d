"""JSON, in either of the forms that rows come in; which one is told by how the file begins.

JSON Lines: one object per line; blank lines are skipped, and counted as lines. Or one value: a list of rows, or an
object that holds exactly one list of objects, as `{"version": 1, "data": [...]}` does. An object is itself a row if it
has a column of a row, such as `text`, `segments` or `tools`, or if its list holds messages, objects with `role` or
`from`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from workers.data import problems
from workers.data.files import json_list
from workers.data.files.blocks import BrokenFileError, blocks, check_unpacked, is_stored, slice_blocks
from workers.data.files.lines import split_lines
from workers.data.files.record import MAX_RECORD_BYTES, Record, Shard
from workers.data.problems import Unit
from workers.failures import DataError

_NUM_PROBED = 100


def columns(path: str) -> list[str]:
    """Keys of the first hundred records that can be read, in order of appearance.

    Raises:
        DataError: the file begins with something that is no text, or none of them can be read, or there is none, or it
            unpacks to far more than it is.
    """
    check_unpacked(path)
    found: dict[str, None] = {}
    fault, is_empty = "", True
    for record in islice(records(path, ()), _NUM_PROBED):
        is_empty = False
        if record.reason == problems.BROKEN_FILE and not found:
            raise DataError(f"{path}: {record.detail}")
        if record.json_text is not None:
            try:
                value = json.loads(record.json_text)
            except (ValueError, RecursionError) as error:
                fault = fault or f"{unit(path)} {record.row}: {problems.BROKEN_JSON}: {error}"
                continue
            if isinstance(value, dict):
                # JSON can spell half of a surrogate pair, which no file of ours can hold.
                found.update(dict.fromkeys(key.encode(errors="backslashreplace").decode() for key in value))
        fault = fault or (f"{unit(path)} {record.row}: {record.reason}: {record.detail}" if record.reason else "")
    if is_empty:
        raise DataError(f"{path} holds no rows; expected at least one")
    if fault and not found:
        raise DataError(f"{path}: columns found: none; {fault}; expected one JSON object per line, or a list of them")
    return list(found)


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row. What JSON it holds is not looked at, so `wanted` makes no difference."""
    read = blocks(path)
    try:
        head = next(read, b"")
    except BrokenFileError as error:
        yield Record(1, None, problems.BROKEN_FILE, str(error))
        return
    whole = chain([head], read)
    start = json_list.start_of_rows(head)
    yield from _of_lines(whole, 1) if start is None else json_list.records(whole, start)


def shard(path: str, part: Shard) -> Iterator[Record]:
    """The rows of some of the lines."""
    return _of_lines(slice_blocks(path, part.start, part.stop), part.first_row)


def unit(path: str) -> Unit:
    """Lines, or the rows of a list."""
    try:
        head = next(blocks(path), b"")
    except BrokenFileError:
        return "line"
    return "line" if json_list.start_of_rows(head) is None else "row"


def is_cuttable(path: str) -> bool:
    """Whether the file may be read in shards: JSON Lines, stored as they are."""
    return is_stored(path) and unit(path) == "line"


def _of_lines(read: Iterable[bytes], first_row: int) -> Iterator[Record]:
    row = first_row - 1
    try:
        for row, line in enumerate(split_lines(read), first_row):
            if line is None:
                limit = f"longer than {MAX_RECORD_BYTES >> 20} MiB; expected one JSON object per line"
                yield Record(row, None, problems.TOO_LARGE, limit)
                continue
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                detail = f"byte {error.start + 1} of the line is {line[error.start]:#04x}; expected UTF-8 text"
                yield Record(row, None, problems.NOT_UTF8, detail)
                continue
            if not text.isspace():
                yield Record(row, text.rstrip("\r\n"))
    except BrokenFileError as error:
        yield Record(row + 1, None, problems.BROKEN_FILE, str(error))
