"""Bytes and JSON."""

import json
import os
from pathlib import Path

from tests.unit.workers.data.bad_input.case import GOOD, GOODS, Case, bad_row, content, second

_ONE_LINE_BYTES = 100 << 20
_NO_ROW = r"rows\.jsonl: columns found: none; line 1: broken JSON: .*; expected one JSON object per line, or a list"
_DEEP = r".*expected one JSON object per line"


def _one_line(folder: Path) -> Path:
    """A line of zeros that takes no room on the disk."""
    with (folder / "rows.jsonl").open("wb") as stream:
        stream.write(GOOD + b'{"prompt": "')
        stream.truncate(_ONE_LINE_BYTES)
        stream.seek(0, os.SEEK_END)
        stream.write(b'"}\n' + GOODS)
    return folder / "rows.jsonl"


TEXT = [
    Case("an empty file", content(b""), r"rows\.jsonl is empty; expected rows"),
    Case("blank lines alone", content(b"\n \n\t\n"), r"rows\.jsonl holds no rows; expected at least one"),
    Case("a file of zeros", content(bytes(4096)), _NO_ROW),
    Case("one object over several lines", content(json.dumps(json.loads(GOOD), indent=1).encode()), _NO_ROW),
    Case("50,000 keys", content(json.dumps(dict.fromkeys(map(str, range(50_000)))).encode()), r" 19, and 49,980 more;"),
    Case(
        "keys of other letters",
        content(b'{"Prompt": "a", "completion ": "b", "x\\u0000y": 1}\n'),
        r"columns found: Prompt, 'completion ', 'x\\x00y'; .* called: \{prompt: 'Prompt', completion: 'completion '\}",
    ),
    Case(
        "commas between lines",
        content(GOOD.strip() + b",\n" + GOOD),
        r"line 1: broken JSON: Extra data at column 35; expected one JSON object per line",
        dropped={"broken JSON": 1},
        kept=1,
    ),
    Case("a page in place of data", content(b"<!DOCTYPE html><html></html>\n"), r"rows\.jsonl: columns found: none"),
    Case("a byte order mark", content(b"\xef\xbb\xbf" + GOOD), kept=1, dropped={}),
    Case("UTF-16 with its mark", content(("\ufeff" + GOODS.decode()).encode("utf-16-le")), kept=3, dropped={}),
    Case(
        "UTF-16 that breaks off",
        content(("\ufeff" + GOODS.decode()).encode("utf-16-le")[:-1]),
        r"line 3: broken file: no longer UTF-16-LE text: truncated data; save the file as UTF-8",
    ),
    Case("UTF-16 without a mark", content(GOODS.decode().encode("utf-16-le")), r"UTF-16 .*; save the file as UTF-8"),
    Case("mixed line ends", content(b"\r".join([GOODS, b"\n" + GOOD.strip(), b""])), kept=4, dropped={}),
    bad_row("Latin-1", second('{"prompt": "é"}'.encode("latin-1")), "not UTF-8", r"byte 13 .* is 0xe9; expected UTF-8"),
    bad_row("NUL bytes", second(b'{"prompt": "\0"}'), "broken JSON", r"Invalid control character at .*column 13"),
    bad_row("half of a surrogate pair", second(b'{"prompt": "\\ud83d", "completion": "b"}'), "not UTF-8", "holds half"),
    Case("100 MB in one line", _one_line, r"line 2: too large: longer than 64 MiB", dropped={"too large": 1}, kept=4),
    bad_row("brackets within brackets", second(b"[" * 200_000), "broken JSON", _DEEP),
    bad_row("objects within objects", second(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "broken JSON", _DEEP),
    bad_row(
        "a number of 10,000 digits",
        second(b'{"prompt": "a", "completion": "b", "id": %s}' % (b"9" * 10_000)),
        "broken JSON",
        "a whole number has more than 4,300 digits; write it as text",
    ),
    bad_row(
        "NaN for a text", second(b'{"prompt": NaN, "completion": "b"}'), "wrong type", "prompt is a number; expected"
    ),
    bad_row(
        "a key twice", second(b'{"prompt": "a", "prompt": "c"}'), "broken JSON", r"the key 'prompt' .*keep one of them"
    ),
    bad_row("a line that breaks off", second(b'{"prompt": "a", "comple'), "broken JSON", r"Unterminated .*column 17"),
    bad_row("Python for JSON", second(b"{'prompt': 'a'}"), "broken JSON", "Expecting property name enclosed in double"),
    bad_row("two objects in a line", second(GOOD.strip() * 2), "broken JSON", "Extra data at column 35"),
    bad_row("a number for a row", second(b"7"), "wrong type", "a number; expected a JSON object"),
    Case("no row is an object", content(b'null\n7\n"text"\n'), r"rows\.jsonl: columns found: none; expected one of"),
    Case("a JSON list with a hole", content(b"[" + GOOD + b",, {}]"), r"row 2: broken file: line 2: .*Expecting value"),
    Case("a JSON list that breaks off", content(b"[" + GOOD + b', {"a'), r"row 2: broken file: line 2: .*Unterminated"),
]
