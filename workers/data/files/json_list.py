"""Rows of one JSON value, a list or an object around a list, read as a stream: only one row is in memory."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from workers.data import problems
from workers.data.files.blocks import BrokenFileError
from workers.data.files.record import MAX_RECORD_BYTES, Record

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_CUT = 16
"""A value that goes on in the next block fails this near to the end of its own, or in a text that does not end."""
_MESSAGE_KEYS = frozenset({"role", "from"})
_ROW_KEYS = frozenset(
    {"messages", "conversations", "prompt", "completion", "completions", "instruction", "history", "text", "segments"}
    | {"chosen", "rejected", "preferred_output", "non_preferred_output", "tools"}
)
"""Columns of the shapes that no object around rows has: with one of them an object is itself a row, whatever lists it
holds. Were it unpacked, what stands beside the list would be lost."""
_EXPECTED = "expected a list of objects, as [{...}, {...}]"


def start_of_rows(head: bytes) -> int | None:
    """Where in the first block of a file, as characters, the list of its rows opens; None: the file is lines."""
    text = head.decode("utf-8", "surrogateescape")
    start = _skip(text, 0)
    if text[start : start + 1] not in ("[", "{") or _is_line(text, start):
        return None
    return start if text[start] == "[" else _list_within(text, start)


def records(blocks: Iterable[bytes], start: int) -> Iterator[Record]:
    """Every element of the list that opens at character `start`, numbered from 1. Places in messages are lines."""
    window = _Window(iter(blocks))
    row = 0
    try:
        is_wrapped = window.skip_to(start)
        if window.next_character() != "]":
            while True:
                row += 1
                text = window.value()
                yield _record(row, text)
                if (character := window.take()) != ",":
                    break
        else:
            character = window.take()
        row += 1
        if character != "]":
            raise BrokenFileError(f"line {window.line}: {character or 'the end'!r} after a row; {_EXPECTED}")
        _finish(window, is_wrapped=is_wrapped)
    except BrokenFileError as error:
        yield Record(max(row, 1), None, problems.BROKEN_FILE, str(error))


def _record(row: int, text: str) -> Record:
    try:
        text.encode()
    except UnicodeEncodeError:
        return Record(row, None, problems.NOT_UTF8, "holds bytes that are not UTF-8 text")
    return Record(row, text)


def _finish(window: "_Window", *, is_wrapped: bool) -> None:
    """What follows the list: other keys of the object around it, and nothing else."""
    character = window.take()
    while is_wrapped and character == ",":
        key = json.loads(window.value())
        if not isinstance(key, str) or window.take() != ":":
            raise BrokenFileError(f"line {window.line}: broken JSON after the list of rows")
        if key in _ROW_KEYS:
            raise BrokenFileError(
                f"line {window.line}: {key!r} after a list of objects; if all of it is one row, write it in a "
                "list: [{...}]"
            )
        if _holds_objects(json.loads(window.value())):
            raise BrokenFileError(f"line {window.line}: a second list of objects; {_EXPECTED}, in a file of its own")
        character = window.take()
    if is_wrapped and character == "}":
        is_wrapped, character = False, window.take()
    if is_wrapped or character:
        found = "the end" if not character else repr(character)
        raise BrokenFileError(f"line {window.line}: {found} after the list of rows; {_EXPECTED} and nothing else")


class _Window:
    """The part of a text that is looked at. It grows until the value that it begins with is whole."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._text = ""
        self._at = 0
        self._num_lines = 1

    @property
    def line(self) -> int:
        """1-based line of the next character."""
        return self._num_lines + self._text.count("\n", 0, self._at)

    def skip_to(self, start: int) -> bool:
        """Goes behind the bracket at character `start`, which is in the first block; whether an object is around it."""
        self._grow()
        is_wrapped = self.next_character() == "{"
        self._at = start + 1
        return is_wrapped

    def next_character(self) -> str:
        """The next one that is no white space; empty at the end."""
        while (at := _skip(self._text, self._at)) == len(self._text):
            self._at = at
            if not self._grow():
                return ""
        self._at = at
        return self._text[at]

    def take(self) -> str:
        """As `next_character`, and goes behind it."""
        character = self.next_character()
        self._at += len(character)
        return character

    def value(self) -> str:
        """The text of the next value, and goes behind it.

        Raises:
            BrokenFileError: there is none.
        """
        self.next_character()
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                line = self._num_lines + self._text.count("\n", 0, error.pos)
                if not self._may_go_on(error) or not self._grow():
                    raise BrokenFileError(f"line {line}: broken JSON: {error.msg}; {_EXPECTED}") from error
                continue
            except (ValueError, RecursionError) as error:
                raise BrokenFileError(f"line {self.line}: broken JSON: {error}") from error
            if end < len(self._text) or not self._grow():
                text, self._at = self._text[self._at : end], end
                return text

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        if len(self._text) - self._at > MAX_RECORD_BYTES:
            raise BrokenFileError(f"line {self.line}: a row that is longer than {MAX_RECORD_BYTES >> 20} MiB")
        return error.pos > len(self._text) - _CUT or error.msg.startswith("Unterminated string")

    def _grow(self) -> bool:
        """Forgets what was read and reads on, as much again as there is; whether there was any more."""
        self._num_lines = self.line
        pieces, wanted = [self._text[self._at :]], max(1, len(self._text) - self._at)
        self._text, self._at = pieces[0], 0
        while wanted > 0 and (block := next(self._blocks, None)) is not None:
            pieces.append(self._decode(block))
            wanted -= len(block)
        self._text = "".join(pieces)
        return len(pieces) > 1


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()


def _is_line(text: str, start: int) -> bool:
    """Whether a whole value ends with the first line and others follow."""
    first, *others = text[start:].split("\n", 1)
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return bool(others and others[0].strip())


def _list_within(text: str, at: int) -> int | None:
    """Where the only list of objects opens in the object at `at`, as far as `text` goes; None: there is none, or the
    object is a row."""
    found: int | None = None
    at += 1
    try:
        while True:
            key, at = _DECODER.raw_decode(text, _skip(text, at))
            at = _skip(text, at)
            if not isinstance(key, str) or key in _ROW_KEYS or text[at : at + 1] != ":":
                return None
            at = _skip(text, at + 1)
            if (is_rows := _opens_rows(text, at)) is None or (is_rows and found is not None):
                return None
            found = at if is_rows else found
            _, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ",":
                return found
            at += 1
    except (ValueError, RecursionError):
        # The rest is in the next block, or broken; then reading will say where.
        return found


def _opens_rows(text: str, at: int) -> bool | None:
    """Whether the value at `at` is a list of objects; None: they are messages."""
    if text[at : at + 1] != "[":
        return False
    first = _skip(text, at + 1)
    if text[first : first + 1] != "{":
        return False
    element, _ = _DECODER.raw_decode(text, first)
    return None if _MESSAGE_KEYS & element.keys() else True


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)
