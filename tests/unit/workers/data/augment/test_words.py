"""Typos, synonyms and what neither may touch."""

from pathlib import Path
from random import Random

import pytest

from workers.data.augment.protect import plain_words, protected_spans
from workers.data.augment.synonyms import with_synonyms
from workers.data.augment.thesaurus import Thesaurus
from workers.data.augment.typos import with_typos
from workers.failures import ConfigError

THESAURUS = """UTF-8
big|2
(adj)|large|bulky|grown up|big (similar term)|giant (generic term)
(adj)|Large|vast
invoice|1
(noun)|bill|account statement
payment|1
(noun)|defrayal|refund (antonym)
"""


@pytest.fixture
def thesaurus(tmp_path: Path) -> Thesaurus:
    path = tmp_path / "th_en_US_v2.dat"
    path.write_text(THESAURUS, encoding="utf-8")
    return Thesaurus.read(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Please refund this invoice.", ["Please", "refund", "this", "invoice"]),
        ("call `print_total(invoice)` now please", ["call", "please"]),
        ("before\n```python\nprint('hello world')\n```\nafter", ["before", "after"]),
        ("before\n```\nnever closed hello", ["before"]),
        ("text\n    indented code here\nmore text", ["text", "more", "text"]),
        ('answer {"reason": "refund", "items": [1, "card"]} thanks', ["answer", "thanks"]),
        ("Dear {customer_name}, order {{ order.number }} or ${TOTAL} shipped", ["Dear", "order", "shipped"]),
        ("Dear [NAME], <b>hello</b> from <COMPANY> and <|im_end|> there", ["Dear", "hello", "from", "there"]),
        ("see https://example.com/help/login or mail jane.doe@example.com today", ["mail", "today"]),
        ("run snake_case CamelCase version2 well-known example.com %(name)s /usr/local/bin maybe", ["maybe"]),
        ("NASA said WAIT, don't leave without Peter's card", ["said", "don't", "leave", "without", "Peter's", "card"]),
        ("größer Straße können", ["größer", "Straße", "können"]),
        ("a be see 12345", []),
    ],
)
def test_only_plain_words_may_be_changed(text: str, words: list[str]) -> None:
    found = plain_words(text)
    assert [word.text for word in found] == words
    assert all(text[word.start : word.end] == word.text for word in found)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["[", "{", "{{", "{%", "<", "<a", "`", "a", "a.", "a@", "a/", "%(", "~~", "\t"])
def test_odd_texts_are_looked_at_in_no_time(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    spans = protected_spans(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert len(plain_words(text)) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_typos_are_one_slip_in_as_many_words_as_asked_for(seed: int) -> None:
    text = "Please refund the second invoice because {customer} never ordered anything from `shop.example`"
    changed = with_typos(text, 0.3, Random(seed))
    before, after = text.split(), changed.split()
    slips = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert len(slips) == round(0.3 * len(plain_words(text))) == 3
    for one, other in slips:
        assert one[0] == other[0]
        assert abs(len(one) - len(other)) <= 1
    assert "{customer}" in changed
    assert "`shop.example`" in changed
    assert with_typos(text, 0.3, Random(seed)) == changed


def test_a_text_without_plain_words_stays() -> None:
    assert with_typos("{a} 12 `code`", 1.0, Random(0)) == "{a} 12 `code`"


def test_a_thesaurus_has_single_words_of_the_same_meaning_alone(thesaurus: Thesaurus) -> None:
    assert thesaurus.synonyms("big") == ("large", "bulky", "Large", "vast")
    assert thesaurus.synonyms("invoice") == ("bill",)
    assert thesaurus.synonyms("payment") == ("defrayal",)
    assert thesaurus.synonyms("nothing") == ()


def test_synonyms_keep_capitals_and_everything_that_is_no_word(thesaurus: Thesaurus) -> None:
    text = "Invoice for the `invoice` of {invoice}: the payment is late"
    assert with_synonyms(text, 1.0, thesaurus, Random(0)) == "Bill for the `invoice` of {invoice}: the defrayal is late"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "first line must name its encoding"),
        (b"klingon-8\nbig|1\n(adj)|large\n", "first line must name its encoding"),
        (b"UTF-8\n\xff\xfe|1\n", "first line must name its encoding"),
        (b"UTF-8\nbig large\n", "line 2"),
        (b"UTF-8\nbig|99999999999\n", "line 2"),
        (b"UTF-8\n", "no word with a synonym"),
        (b"UTF-8\nbig|1\n(adj)|very large\n", "no word with a synonym"),
    ],
)
def test_a_file_that_is_no_thesaurus_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.dat"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        Thesaurus.read(path)
    assert "words.dat" in str(caught.value)


def test_a_thesaurus_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.dat: No such file"):
        Thesaurus.read(tmp_path / "none.dat")
