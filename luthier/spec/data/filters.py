"""`data.filters`: which rows are left out for what their text is like. Each threshold is a rule of its own.

The rules for text are those of Gopher (Rae et al., 2021, arXiv:2112.11446, table A1) and C4 (Raffel et al., 2020,
arXiv:1910.10683, section 2.2), which were made for web pages; `preset` sets all that one of the two publishes.
"""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.data.lines import LinesSpec

Preset = Literal["gopher", "c4"]
_PREFIXES = ("min_", "max_", "no_")
_CODE = re.compile(r"^[a-z]{2,3}$")

PRESETS: dict[Preset, dict[str, float | bool]] = {
    "gopher": {
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 3.0,
        "max_mean_word_length": 10.0,
        "max_symbol_to_word_ratio": 0.1,
        "max_bullet_lines": 0.9,
        "max_ellipsis_lines": 0.3,
        "min_alphabetic_words": 0.8,
        "min_stop_words": 2,
        "max_repeated_lines": 0.3,
        "max_repeated_paragraphs": 0.3,
        "max_repeated_line_characters": 0.2,
        "max_repeated_paragraph_characters": 0.2,
        "max_top_2_gram": 0.2,
        "max_top_3_gram": 0.18,
        "max_top_4_gram": 0.16,
        "max_repeated_5_grams": 0.15,
        "max_repeated_6_grams": 0.14,
        "max_repeated_7_grams": 0.13,
        "max_repeated_8_grams": 0.12,
        "max_repeated_9_grams": 0.11,
        "max_repeated_10_grams": 0.1,
    },
    "c4": {
        "min_sentences": 3,
        "no_lorem_ipsum": True,
        "no_curly_braces": True,
    },
}
"""What the papers publish, by name of the preset."""

_Share = Field(default=None, ge=0.0, le=1.0)


class FiltersSpec(Section):
    """Rows that break a rule are dropped, and counted by rule with the value that broke it.

    A rule looks at the messages of user and assistant as one text, a line apart. A rule that is absent is off.
    """

    preset: Preset | None = None
    """Sets the rules that Gopher or C4 publish; rules that are given beside it count instead. Both are made for English
    web pages: chats with short answers break them."""
    lines: LinesSpec | None = None
    """Single lines of plain text are taken out, as C4 does it; no preset does that. Absent: texts stay whole."""
    languages: list[str] | None = Field(default=None, min_length=1)
    """ISO 639 codes (`en`, `de`) of the languages to keep, as identified from the first characters of the answers."""
    drop_unknown_language: bool = False
    """Rows too short or too mixed to tell are dropped as well; otherwise they stay."""
    min_characters: int | None = Field(default=None, ge=1)
    """Fewest characters."""
    max_characters: int | None = Field(default=None, ge=1)
    """Most characters."""
    min_words: int | None = Field(default=None, ge=1)
    """Fewest words, which white space separates."""
    max_words: int | None = Field(default=None, ge=1)
    """Most words."""
    min_turns: int | None = Field(default=None, ge=1)
    """Fewest messages of user and assistant; a text counts as one."""
    max_turns: int | None = Field(default=None, ge=1)
    """Most messages of user and assistant."""
    min_mean_word_length: float | None = Field(default=None, ge=0.0)
    """Lowest mean length of a word in characters (Gopher: 3)."""
    max_mean_word_length: float | None = Field(default=None, ge=0.0)
    """Highest mean length of a word in characters (Gopher: 10)."""
    max_symbol_to_word_ratio: float | None = Field(default=None, ge=0.0)
    """Most hash signs, or most ellipses, per word (Gopher: 0.1)."""
    max_bullet_lines: float | None = _Share
    """Largest share of lines that start with a bullet (Gopher: 0.9)."""
    max_ellipsis_lines: float | None = _Share
    """Largest share of lines that end with an ellipsis (Gopher: 0.3)."""
    min_alphabetic_words: float | None = _Share
    """Smallest share of words with a letter (Gopher: 0.8)."""
    min_stop_words: int | None = Field(default=None, ge=0, le=8)
    """Fewest different words of the, be, to, of, and, that, have, with (Gopher: 2). English only."""
    min_sentences: int | None = Field(default=None, ge=1)
    """Fewest ends of a sentence (C4: 3)."""
    max_repeated_lines: float | None = _Share
    """Largest share of lines that were there before (Gopher: 0.3)."""
    max_repeated_paragraphs: float | None = _Share
    """Largest share of paragraphs that were there before (Gopher: 0.3)."""
    max_repeated_line_characters: float | None = _Share
    """Largest share of characters in lines that were there before (Gopher: 0.2)."""
    max_repeated_paragraph_characters: float | None = _Share
    """Largest share of characters in paragraphs that were there before (Gopher: 0.2)."""
    max_top_2_gram: float | None = _Share
    """Largest share of characters in the most frequent pair of words (Gopher: 0.2)."""
    max_top_3_gram: float | None = _Share
    """The same for three words (Gopher: 0.18)."""
    max_top_4_gram: float | None = _Share
    """The same for four words (Gopher: 0.16)."""
    max_repeated_5_grams: float | None = _Share
    """Largest share of characters in runs of five words that were there before (Gopher: 0.15)."""
    max_repeated_6_grams: float | None = _Share
    """The same for six words (Gopher: 0.14)."""
    max_repeated_7_grams: float | None = _Share
    """The same for seven words (Gopher: 0.13)."""
    max_repeated_8_grams: float | None = _Share
    """The same for eight words (Gopher: 0.12)."""
    max_repeated_9_grams: float | None = _Share
    """The same for nine words (Gopher: 0.11)."""
    max_repeated_10_grams: float | None = _Share
    """The same for ten words (Gopher: 0.1)."""
    no_lorem_ipsum: bool = False
    """Rows with the words "lorem ipsum" are dropped (C4)."""
    no_curly_braces: bool = False
    """Rows with a curly brace are dropped (C4), which takes code and JSON with it."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for what in ("characters", "words", "turns", "mean_word_length"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{what} {least} is above max_{what} {most}, so every row would be dropped")
        return self

    @model_validator(mode="after")
    def _known_codes(self) -> Self:
        wrong = [code for code in self.languages or () if not _CODE.match(code)]
        if wrong:
            raise ValueError(f"languages has {wrong[0]!r}; expected ISO 639 codes such as en, de or zh")
        if self.drop_unknown_language and self.languages is None:
            raise ValueError("drop_unknown_language has no use without languages; leave it out")
        return self

    @model_validator(mode="after")
    def _something_on(self) -> Self:
        if not self.rules and self.languages is None and self.lines is None:
            raise ValueError("filters has no rule, so it would do nothing; give one, or leave filters out")
        return self

    @property
    def rules(self) -> dict[str, float | bool]:
        """The rules for text that are on, with their thresholds; those of the preset filled in."""
        given = {name: getattr(self, name) for name in type(self).model_fields if name.startswith(_PREFIXES)}
        on = {name: value for name, value in given.items() if value is not None and value is not False}
        return (PRESETS[self.preset] if self.preset else {}) | on
