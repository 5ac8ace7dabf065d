"""Calls of tools in the text that a model writes.

An answer has calls if it ends with nothing but calls in the very form that the chat template writes, each of a
function that was offered, with a JSON object as arguments, and if the model itself ended it. Everything else is text: a
call that was cut off, of a function that nobody offered, with broken arguments, or with words after it. Nothing is
mended.
"""

import json
import re
import secrets
import string
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from .generation import Chunk, TextStream
from .tool_use import CallForm

PROBE_IDS = ("call00001", "call00002")
"""Ids in the texts of a `CallForm`; a model may write any in their place."""

_ANY_ID = r"[\w.:-]*"
_ID_CHARACTERS = string.ascii_letters + string.digits
_ID_LENGTH = 9  # some templates refuse ids of any other length


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    id: str
    """Made up here."""
    name: str
    arguments: str
    """A JSON object, as the model wrote it."""


class CallReader:
    """Finds the calls in the text of an answer. Texts here have the special tokens in them: some templates mark calls
    by those."""

    def __init__(self, form: CallForm, names: Collection[str], stop_texts: Iterable[str]) -> None:
        """
        Args:
            form: how the model writes calls.
            names: functions that it may call.
            stop_texts: tokens that end an answer; they are no part of its text.
        """
        longest_first = sorted(map(re.escape, names), key=len, reverse=True)
        after = form.after
        for stop in stop_texts:
            after = after.partition(stop)[0]
        self.begins_answer = form.begins_answer
        self._opening = re.compile(rf"{_pattern(form.before_name)}\s*")
        self._name = re.compile(rf"({'|'.join(longest_first)})\s*{_pattern(form.before_arguments)}\s*")
        self._between = None if form.between is None else re.compile(rf"\s*{_pattern(form.between)}\s*")
        self._after = re.compile(rf"\s*{_pattern(after)}\s*")
        self._marker = form.before_name.split()[0]
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def read(self, text: str) -> tuple[int, list[Call]]:
        """Where in a finished `text` the calls begin, and the calls. Its length and none, if there are none."""
        for opening in self._opening.finditer(text):
            if self.begins_answer and text[: opening.start()].strip():
                break
            if calls := self._calls_from(text, opening.end()):
                return opening.start(), calls
        return len(text), []

    def first_doubt(self, text: str) -> int:
        """The first place in an unfinished `text` from which on all may turn out to be calls; its length if none."""
        if self.begins_answer:
            said = text.strip()
            return 0 if said.startswith(self._marker) or self._marker.startswith(said) else len(text)
        place = text.find(self._marker)
        if place < 0:
            lengths = range(min(len(text), len(self._marker) - 1), 0, -1)
            place = len(text) - next((n for n in lengths if text.endswith(self._marker[:n])), 0)
        return len(text[:place].rstrip())

    def _calls_from(self, text: str, position: int) -> list[Call]:
        """All calls from the first one's name up to the end; none if there is anything else."""
        calls: list[Call] = []
        while name := self._name.match(text, position):
            try:
                arguments, end = self._decoder.raw_decode(text, name.end())
            except (ValueError, RecursionError):
                return []
            if not isinstance(arguments, dict):
                return []
            calls.append(Call(_new_id(), name[1], text[name.end() : end]))
            if self._after.fullmatch(text, end):
                return calls
            following = self._between.match(text, end) if self._between else None
            if following is None:
                return []
            position = following.end()
        return []


class CallStream:
    """Lets the text of an answer through as it comes, but for what may turn out to be calls."""

    def __init__(self, reader: CallReader, raw: TextStream) -> None:
        """`raw` turns tokens into text with the special ones."""
        self._reader = reader
        self._raw = raw
        self._held: list[tuple[str, str]] = []
        """Of each piece the text with special tokens, and the text."""
        self._is_text = False
        """Whether it is certain that no calls come."""

    def push(self, chunk: Chunk) -> dict[str, Any]:
        """The chunk as it is sent. The last one has the calls, and then the reason `tool_calls`."""
        if self._is_text:
            return sent(chunk, chunk.text)
        raw = "".join(map(self._raw.push, chunk.token_ids)) if chunk.token_ids else self._raw.flush()
        self._held.append((raw, chunk.text))
        whole = "".join(piece for piece, _ in self._held)
        if not chunk.finish_reason:
            text = self._let_go(self._reader.first_doubt(whole))
            self._is_text = self._reader.begins_answer and bool(text.strip())
            return sent(chunk, text)
        start, calls = self._reader.read(whole) if chunk.finish_reason == "stop" else (len(whole), [])
        if not calls:
            return sent(chunk, "".join(text for _, text in self._held))
        return sent(chunk, self._text_before(start).rstrip(), calls)

    def _let_go(self, place: int) -> str:
        """The text of the pieces that lie whole before `place`; they are held no longer."""
        num_pieces, stop = 0, 0
        for raw, _ in self._held:
            stop += len(raw)
            if stop > place:
                break
            num_pieces += 1
        gone, self._held = self._held[:num_pieces], self._held[num_pieces:]
        return "".join(text for _, text in gone)

    def _text_before(self, place: int) -> str:
        """The text that is held before `place`, which may lie within a piece."""
        texts, start = [], 0
        for raw, text in self._held:
            part = raw[: max(0, place - start)]
            texts.append(text if part == raw else part if text.startswith(part) else "")
            start += len(raw)
        return "".join(texts)


def sent(chunk: Chunk, text: str, calls: Iterable[Call] = ()) -> dict[str, Any]:
    """A chunk as it goes over the wire: its fields with this text, and the calls."""
    document = {**asdict(chunk), "text": text, "tool_calls": [asdict(call) for call in calls]}
    return document | {"finish_reason": "tool_calls"} if document["tool_calls"] else document


def _pattern(text: str) -> str:
    """A regular expression for `text` with any white space where it has some, and any ids."""
    inner = r"\s*".join(map(re.escape, text.split()))
    for probe in PROBE_IDS:
        inner = inner.replace(probe, _ANY_ID)
    return inner


def _new_id() -> str:
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
