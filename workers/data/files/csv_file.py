"""Tables of text with a header (RFC 4180): CSV and TSV. Double quotes, line ends inside quotes; every cell is text.

The delimiter is a tab in a file whose name says TSV, else the one of `DELIMITERS` that gives the header most columns.
A list, as of messages, is JSON text in its cell. A row's number is the line on which it starts.
"""

import csv
import json
import re
from _csv import Reader
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from workers.data import problems
from workers.data.files.blocks import BrokenFileError, blocks, check_unpacked
from workers.data.files.lines import split_lines
from workers.data.files.record import MAX_RECORD_BYTES, Record
from workers.data.problems import Unit
from workers.failures import DataError

DELIMITERS = (",", ";", "\t", "|")
"""The earlier one wins a tie: a header of one column is CSV."""
_OF_SPREADSHEETS = re.compile(r"sep=.?$", re.IGNORECASE)
"""What some write first to say which delimiter follows."""
_TSV_SUFFIXES = frozenset({".tsv", ".tab"})


def columns(path: str) -> list[str]:
    """The header. Columns without a name, as spreadsheets leave them behind, may be there several times.

    Raises:
        DataError: it is missing, not UTF-8 or broken, or names a column twice, or the file unpacks to far more than
            it is.
    """
    check_unpacked(path)
    try:
        header: list[str] = next(_rows(path), [])
    except (csv.Error, BrokenFileError) as error:
        raise DataError(f"{path} line 1: the header cannot be read: {error}") from error
    if header and _OF_SPREADSHEETS.match(header[0]):
        raise DataError(f"{path} line 1: {header[0]!r} is no header; delete the line, the delimiter is told without it")
    if any(map(_is_broken, header)):
        raise DataError(f"{path} line 1: the header is not UTF-8 text")
    doubled = sorted(name for name, count in Counter(header).items() if name and count > 1)
    if doubled:
        raise DataError(f"{path} line 1: the header names {', '.join(map(repr, doubled))} more than once")
    return header


def records(path: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row below the header as a JSON object of strings; blank lines are skipped."""
    rows = _rows(path)
    header = next(rows)
    while True:
        start = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            # Where the next row starts is a guess from here on.
            yield Record(start, None, problems.BROKEN_FILE, f"{error}; is a quote not closed or not doubled?")
            return
        except BrokenFileError as error:
            yield Record(start, None, problems.BROKEN_FILE, str(error))
            return
        if cells is None:
            return
        if cells:
            yield _record(start, header, cells, wanted)


def unit(path: str) -> Unit:
    """Lines."""
    return "line"


def _record(row: int, header: list[str], cells: list[str], wanted: Sequence[str]) -> Record:
    if len(cells) != len(header):
        detail = f"{len(cells)} cells; the header has {len(header)} columns"
        return Record(row, None, problems.WRONG_COLUMNS, detail)
    chosen = {name: cell for name, cell in zip(header, cells, strict=True) if name in wanted}
    broken = [name for name, cell in chosen.items() if _is_broken(cell)]
    if broken:
        return Record(row, None, problems.NOT_UTF8, f"column {broken[0]} holds bytes that are not UTF-8 text")
    return Record(row, json.dumps(chosen, ensure_ascii=False))


def _rows(path: str) -> Reader:
    # The limit belongs to the module, not to a reader; every caller here wants the same one.
    csv.field_size_limit(MAX_RECORD_BYTES)
    return csv.reader(_lines(path), strict=True, delimiter=_delimiter(path))


def _lines(path: str) -> Iterator[str]:
    for line in split_lines(blocks(path)):
        if line is None:
            raise csv.Error(f"a line is longer than {MAX_RECORD_BYTES >> 20} MiB")
        # A bad byte becomes a lone surrogate, which keeps rows and cells apart until the bad cell can be named.
        yield line.decode("utf-8", "surrogateescape")


def _delimiter(path: str) -> str:
    if _TSV_SUFFIXES & set(PurePath(path.lower()).suffixes[-2:]):
        return "\t"
    header = next(_lines(path), "")
    return max(DELIMITERS, key=lambda delimiter: _num_columns(header, delimiter))


def _num_columns(header: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([header], delimiter=delimiter), []))
    except csv.Error:
        return 0


def _is_broken(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)
