"""Step `clean`: mends the words of a row, part by part, and says what it changed.

One look in bulk says which texts of a batch may need anything, so that a clean text costs next to nothing. A text that
is JSON stays JSON: a change that would break it is not made.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
from pyarrow import compute as pc

from luthier.spec import DataSpec
from workers.data import problems
from workers.data.problems import RowError
from workers.data.row import Repair, Row, is_segmented
from workers.data.steps.characters import (
    SUSPECT_CONTROL,
    SUSPECT_FORM,
    SUSPECT_MOJIBAKE,
    compose,
    fix_mojibake,
    remove_controls,
)
from workers.data.steps.markup import SUSPECT_MARKUP, strip_markup
from workers.data.steps.prose import is_json
from workers.data.steps.white_space import SUSPECT_WHITE_SPACE, tidy_white_space

_EXCERPT = 40
_TEXT_KEYS = ("content", "reasoning_content")


@dataclass(frozen=True)
class _Part:
    """One thing that is mended."""

    switch: str
    """Its key in `data.clean`."""
    kind: str
    """What the report calls it."""
    suspect: str
    """RE2 pattern; a text without a match needs nothing."""
    mend: Callable[[str, bool], str]
    """`(text, is it a text of its own rather than part of a conversation)`."""
    is_layout: bool = False
    """Whether it looks at more than single characters."""


_PARTS = (
    _Part("encoding", "mojibake", SUSPECT_MOJIBAKE, lambda text, _: fix_mojibake(text)),
    _Part("control", "control characters", SUSPECT_CONTROL, lambda text, _: remove_controls(text)),
    _Part("encoding", "Unicode normal form", SUSPECT_FORM, lambda text, _: compose(text)),
    _Part("markup", "markup", SUSPECT_MARKUP, lambda text, alone: strip_markup(text, may_be_page=alone), True),
    _Part("white_space", "white space", SUSPECT_WHITE_SPACE, lambda text, _: tidy_white_space(text), True),
)
"""In the order in which they are done: what one leaves behind, the next one sees."""


@dataclass(frozen=True)
class _Slot:
    """Where a text of a row is."""

    row: Row
    text: str
    message: int | None = None
    """Index of the message that has it; None: the row is a text, or it is the worse answer."""
    key: str = ""
    """Of the message; `rejected` of the worse answer."""

    @property
    def is_piece(self) -> bool:
        """Whether it is a segment: what is at its ends matters, and its markup may begin in another one."""
        return self.message is not None and is_segmented(self.row.content)

    @property
    def is_alone(self) -> bool:
        """Whether it is a text of its own rather than part of a conversation."""
        return not self.key

    def put(self, text: str) -> None:
        """Puts `text` in its place."""
        if self.message is not None:
            assert isinstance(self.row.content, list)
            self.row.content[self.message] = {**self.row.content[self.message], self.key: text}
        elif self.key:
            self.row.notes = replace(self.row.notes, rejected=text)
        else:
            self.row.content = text


def build(spec: DataSpec) -> Callable[[Sequence[Row]], None] | None:
    """The step that `data.clean` asks for."""
    if spec.clean is None:
        return None
    parts = [part for part in _PARTS if getattr(spec.clean, part.switch)]

    def clean(rows: Sequence[Row]) -> None:
        slots = [slot for row in rows for slot in _slots(row)]
        for index, needed in _suspects([slot.text for slot in slots], parts):
            _mend(slots[index], parts, needed)

    return clean


def _slots(row: Row) -> Iterator[_Slot]:
    if isinstance(row.content, str):
        yield _Slot(row, row.content)
    else:
        for index, message in enumerate(row.content):
            for key in _TEXT_KEYS:
                if message.get(key):
                    yield _Slot(row, message[key], index, key)
    if row.notes.rejected is not None:
        yield _Slot(row, row.notes.rejected, None, "rejected")


def _suspects(texts: Sequence[str], parts: Sequence[_Part]) -> Iterator[tuple[int, Sequence[bool]]]:
    """Indices of the texts that may need something, and which of the parts each needs."""
    try:
        array = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:
        # Half of a surrogate pair is in one of them.
        yield from ((index, [True] * len(parts)) for index in range(len(texts)))
        return
    any_part = "|".join(dict.fromkeys(part.suspect for part in parts))
    indices = pc.indices_nonzero(pc.match_substring_regex(array, any_part))
    chosen = array.take(indices)
    hits = [pc.match_substring_regex(chosen, part.suspect).to_pylist() for part in parts]
    yield from zip(indices.to_pylist(), zip(*hits, strict=True), strict=True)


def _mend(slot: _Slot, parts: Sequence[_Part], needed: Sequence[bool]) -> None:
    text = slot.text
    must_parse = is_json(text)
    for part, is_needed in zip(parts, needed, strict=True):
        # What one part changes, the parts after it have to see.
        if not (is_needed or text is not slot.text) or (part.is_layout and slot.is_piece):
            continue
        mended = part.mend(text, slot.is_alone)
        if mended != text and (not must_parse or is_json(mended)):
            slot.row.repairs.append(Repair(part.kind, _excerpt(text, mended)))
            text = mended
    if text is not slot.text:
        slot.put(text)
        _check(slot, text)


def _check(slot: _Slot, text: str) -> None:
    """Drops a row of which cleaning left too little."""
    row = slot.row
    if slot.text.strip() and not text.strip() and not slot.is_piece:
        row.error = RowError(problems.EMPTY_AFTER_CLEANING, f"nothing is left of {slot.text[:_EXCERPT]!r}")
    elif isinstance(row.content, list) and row.notes.rejected == row.content[-1]["content"]:
        row.error = RowError(problems.NOTHING_TRAINABLE, "chosen and rejected are the same answer once they are clean")


def _excerpt(before: str, after: str) -> str:
    """Both around the first character in which they differ."""
    same, different = 0, min(len(before), len(after)) + 1
    while different - same > 1:
        middle = (same + different) // 2
        same, different = (middle, different) if before[:middle] == after[:middle] else (same, middle)
    start = max(0, same - _EXCERPT // 2)
    return f"{before[start : start + _EXCERPT]!r} became {after[start : start + _EXCERPT]!r}"
