"""Numbers of cards, bank accounts and phones, which are told from other numbers by their check digits and plans."""

import re
from collections.abc import Iterator, Sequence

import phonenumbers
from stdnum import iban, luhn

from workers.data.steps.pii.spans import START, Find
from workers.failures import ConfigError

DIGITS_GATE = r"\d(?:[ .()/-]{0,3}\d){7}"

_CARD = re.compile(
    START + r"(?:\d{14,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5})(?!\w|[-.]\d)",
)
# The first digits (ISO/IEC 7812) and lengths of the large networks.
_NETWORK = re.compile(
    r"4\d{15}|4\d{18}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}|"
    r"3(?:0[0-5]|[689]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}"
)

IBAN_GATE = r"[A-Z]{2}\d{2} ?[A-Z0-9]{4}"
_IBAN = re.compile(START + r"[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?)(?![A-Za-z0-9])")

_INTERNATIONAL = re.compile(r"(?:(?<=\\[nrtbf])|(?<![\w+\\]))\+\d(?:[ .()/-]{0,3}\d){6,14}(?!\w)")
_NATIONAL = re.compile(START + r"(?<!/)(?:\(\d{1,5}\)[ -]?|\d{1,5}[ .\-/])\d{2,8}(?:[ .-]\d{2,8}){0,4}(?!\w|[-.:/]\d)")
_GROUP = re.compile(r"[ .()/-]+\d+\W*$")
_NUM_TRIED = 3


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Card numbers by network, length and check digit (Luhn, ISO/IEC 7812-1)."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _NETWORK.fullmatch(digits) and luhn.is_valid(digits):
            yield match.span()


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """By check digits (mod 97, ISO 13616) and the form of their country."""
    for match in _IBAN.finditer(text):
        candidate = match[0]
        # In capitals, the words that follow look like groups of it.
        for _ in range(_NUM_TRIED):
            if iban.is_valid(candidate):
                yield match.start(), match.start() + len(candidate)
                break
            candidate = candidate.rpartition(" ")[0]


def phones(regions: Sequence[str]) -> Find:
    """Numbers with a leading +, and those of `regions` as written there, which the numbering plans know.

    Raises:
        ConfigError: there is no such region.
    """
    unknown = sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS)
    if unknown:
        raise ConfigError(f"data.pii.regions: {unknown[0]} is no country; give codes of two letters such as DE or US")

    def find(text: str) -> Iterator[tuple[int, int]]:
        for match in _INTERNATIONAL.finditer(text):
            length = _valid_length(match[0])
            if length:
                yield match.start(), match.start() + length
        for match in _NATIONAL.finditer(text):
            for region in regions:
                for start, end in _national(match[0], region):
                    yield match.start() + start, match.start() + end

    return find


def _valid_length(candidate: str) -> int:
    """Of the longest start of `candidate` that is a number; 0: there is none. What follows may be other numbers."""
    for _ in range(_NUM_TRIED):
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(candidate)):
                return len(candidate)
        except phonenumbers.NumberParseException:
            return 0
        candidate = _GROUP.sub("", candidate)
    return 0


def _national(candidate: str, region: str) -> Iterator[tuple[int, int]]:
    """Numbers of the region in groups as they are usual there. Digits in one group could be anything."""
    leniency = phonenumbers.Leniency.STRICT_GROUPING
    for match in phonenumbers.PhoneNumberMatcher(candidate, region, leniency=leniency):
        if not match.raw_string.isdigit():
            yield match.start, match.end
