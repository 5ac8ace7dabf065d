"""CSV with a header (RFC 4180): commas, double quotes, line ends inside quotes. Every cell is text.

A cell of the column `messages` holds JSON. A row's number is the line on which it starts.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from workers.data import problems
from workers.data.files.record import MAX_RECORD_BYTES, Record, open_lines
from workers.failures import DataError


def columns(uri: str) -> list[str]:
    """The header.

    Raises:
        DataError: it is missing, not UTF-8 or broken, or names a column twice.
    """
    with open_lines(uri) as stream:
        try:
            header: list[str] = next(csv.reader(_lines(stream), strict=True), [])
        except csv.Error as error:
            raise DataError(f"{uri} line 1: the header cannot be read: {error}") from error
    if any(map(_is_broken, header)):
        raise DataError(f"{uri} line 1: the header is not UTF-8 text")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise DataError(f"{uri} line 1: the header names {', '.join(doubled)} more than once")
    return header


def records(uri: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every row below the header as a JSON object of strings; blank lines are skipped."""
    with open_lines(uri) as stream:
        rows = csv.reader(_lines(stream), strict=True)
        header = next(rows)
        while True:
            start = rows.line_num + 1
            try:
                cells = next(rows, None)
            except csv.Error as error:
                # Where the next row starts is a guess from here on.
                yield Record(start, None, problems.BROKEN_FILE, f"{error}; is a quote not closed or not doubled?")
                return
            if cells is None:
                return
            if cells:
                yield _record(start, header, cells, wanted)


def _record(row: int, header: list[str], cells: list[str], wanted: Sequence[str]) -> Record:
    if len(cells) != len(header):
        detail = f"{len(cells)} cells; the header has {len(header)} columns"
        return Record(row, None, problems.WRONG_COLUMNS, detail)
    chosen = {name: cell for name, cell in zip(header, cells, strict=True) if name in wanted}
    broken = [name for name, cell in chosen.items() if _is_broken(cell)]
    if broken:
        return Record(row, None, problems.NOT_UTF8, f"column {broken[0]} holds bytes that are not UTF-8 text")
    if "messages" not in chosen:
        return Record(row, json.dumps(chosen, ensure_ascii=False))
    try:
        messages = json.loads(chosen["messages"])
    except (ValueError, RecursionError) as error:
        return Record(row, None, problems.BROKEN_JSON, f"column messages: {error}; expected a JSON list of messages")
    return Record(row, json.dumps({**chosen, "messages": messages}))


def _lines(stream: BinaryIO) -> Iterator[str]:
    # The limit belongs to the module, not to a reader; every caller here wants the same one.
    csv.field_size_limit(MAX_RECORD_BYTES)
    # A bad byte becomes a lone surrogate, which keeps rows and cells apart until the bad cell can be named.
    return (line.decode("utf-8", "surrogateescape") for line in stream)


def _is_broken(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)
