"""`data.clean` and `data.repair`: what is mended in a row rather than refused. Each part is a switch of its own."""

from typing import Self

from pydantic import model_validator

from luthier.spec.base import Section


class CleanSpec(Section):
    """What is mended in the words of a row. Every change is counted in the report, with an excerpt before and after.

    Code is left as it is: blocks between fences, `code` in a line, indented lines, and texts that are JSON.
    """

    encoding: bool = True
    """Mojibake (UTF-8 once read as something else) and halves of surrogate pairs are mended, and text is brought into
    the normal form NFC."""
    control: bool = True
    """Control characters, NUL, byte order marks inside text, terminal escapes and zero-width characters are removed;
    joiners stay where scripts and emoji need them."""
    white_space: bool = True
    """Line ends become LF; spaces at the end of a line, blank lines around a text and runs of more than one blank line
    are removed. Indentation stays."""
    markup: bool = False
    """HTML tags and entities are removed from prose; blocks become lines, items of lists become `- item`. Tags that
    HTML does not know stay, and so do answers that are pages or code."""

    @model_validator(mode="after")
    def _something_on(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("every part of clean is off, so it would do nothing; turn one on, or leave clean out")
        return self


class RepairSpec(Section):
    """Which faults in the turns of a conversation are mended. Without it they are faults of the row, see
    `on_invalid_row`. Every mended row is counted in the report."""

    empty_system: bool = True
    """A system message without words is removed."""
    merge_turns: bool = True
    """Neighbouring messages of one role become one, with an empty line in between. Answers that count differently, and
    messages that hold more than text, are not merged."""
    leading_assistant: bool = True
    """Answers before the first question are removed."""
    trailing_user: bool = True
    """Questions after the last answer are removed, where the shape of the row ends with an answer."""

    @model_validator(mode="after")
    def _something_on(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("every part of repair is off, so it would do nothing; turn one on, or leave repair out")
        return self
