"""JSON Lines: one JSON object per line; blank lines are skipped, and counted as lines."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice

from workers.data import problems
from workers.data.files.record import MAX_RECORD_BYTES, Record, open_lines

_NUM_PROBED = 100


def columns(uri: str) -> list[str]:
    """Keys of the first hundred records that can be read, in order of appearance."""
    found: dict[str, None] = {}
    for record in islice(records(uri, ()), _NUM_PROBED):
        if record.json_text is not None:
            try:
                value = json.loads(record.json_text)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                found.update(dict.fromkeys(value))
    return list(found)


def records(uri: str, wanted: Sequence[str]) -> Iterator[Record]:
    """Every line that is not blank. The JSON itself is not looked at, so `wanted` makes no difference."""
    with open_lines(uri) as stream:
        row = 0
        while line := stream.readline(MAX_RECORD_BYTES):
            row += 1
            if len(line) == MAX_RECORD_BYTES and not line.endswith(b"\n"):
                limit = f"longer than {MAX_RECORD_BYTES >> 20} MiB; expected one JSON object per line"
                yield Record(row, None, problems.BROKEN_FILE, limit)
                return
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                detail = f"byte {error.start + 1} of the line is {line[error.start]:#04x}; expected UTF-8 text"
                yield Record(row, None, problems.NOT_UTF8, detail)
                continue
            if not text.isspace():
                yield Record(row, text.rstrip("\r\n"))
