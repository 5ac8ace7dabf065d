"""Words of a sample, and which of them are odd."""

import pytest

from workers.data.quality.encoding import broken_rows
from workers.data.quality.vocabulary import vocabulary_of


def test_words_are_counted_without_case_and_punctuation() -> None:
    words = vocabulary_of(["The cat, the dog.", '"The" end!'])
    assert (words.num_rows, words.num_words, words.num_distinct, words.num_once) == (2, 6, 4, 3)
    assert words.most_frequent[0] == ("the", 3)


@pytest.mark.parametrize(
    ("text", "is_odd"),
    [
        ("a" * 41, True),
        ("p\u0430ypal", True),
        ("https://example.com/" + "a" * 60, False),
        ("привет", False),
        ("我怎样才能重置账户的密码" * 5, False),
        ("plain words", False),
        ('{"category":"delivery","priority":"high","action":"refund"}', False),
        ("delivery|damage|billing|technical|account|sales", False),
    ],
)
def test_odd_words(text: str, is_odd: bool) -> None:
    words = vocabulary_of([text])
    assert (words.num_odd_rows, bool(words.odd)) == (int(is_odd), is_odd)


def test_broken_characters_are_found_and_good_ones_are_not() -> None:
    broken = ["schÃ¶n", "it â€™s", "\ufffd", "bell\x07", "c1 \x9f"]
    good = ["schön", "naïve café, “quoted”", "Ærø", "ÂNGELO", "привет", "ライト", "tab\tand\nline", "PÃO DE AÇÚCAR"]
    assert broken_rows([*broken, *good]) == list(range(len(broken)))
