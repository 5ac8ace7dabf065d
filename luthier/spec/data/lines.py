"""`data.filters.lines`: which lines of a text are taken out, as C4 was made of web pages."""

from typing import Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class LinesSpec(Section):
    """Lines of plain text that are no running text (Raffel et al., 2020, arXiv:1910.10683, section 2.2), before the
    rules on rows. All rules are on; `lines: {}` does what C4 does. Conversations, pairs and segments stay whole.
    """

    end_punctuation: bool = True
    """Take out lines that do not end with a full stop, an exclamation or question mark, or a closing quotation mark; an
    ellipsis is no end."""
    min_words: int | None = Field(default=5, ge=1)
    """Take out lines of fewer words, which white space separates; null: none. 5 as in the program that made C4, where
    the paper has 3."""
    no_javascript: bool = True
    """Take out lines with the word "JavaScript", which ask for it to be turned on."""
    no_policy_notices: bool = True
    """Take out lines about terms of use, privacy policies and cookies, by the phrases of C4."""

    @model_validator(mode="after")
    def _something_on(self) -> Self:
        if not (self.end_punctuation or self.min_words or self.no_javascript or self.no_policy_notices):
            raise ValueError("lines has no rule on, so it would do nothing; turn one on, or leave lines out")
        return self
