"""What of a text is compared."""

import pytest

from workers.data.dedup.words import comparable, words
from workers.data.row import Message, Notes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!\n\nAgain.", "hello world again"),
        ("don't (really) stop", "don t really stop"),
        ("3 + 4 = 7; x<5, 50%", "3 + 4 = 7 x<5 50%"),
        ("2024-05-01 and/or 2024/05/02", "2024-05-01 and/or 2024/05/02"),
        ("Straße ÉCOLE", "strasse école"),
        ("e\u0301cole", "école"),
        ("東京都に行く。", "東 京 都 に 行 く"),
        ("iPhone買った", "iphone 買 っ た"),
        ("  ?! \n...", "?! ..."),
        ("\ud83d?", "??"),
        ("", ""),
    ],
)
def test_words_are_what_is_left_without_case_punctuation_and_layout(text: str, expected: str) -> None:
    assert words(text) == expected


def test_ascii_and_other_text_go_by_the_same_rule() -> None:
    text = "".join(chr(code) for code in range(128))
    assert words(f"{text} é").removesuffix(" é") == words(text)


def test_system_messages_are_left_out_and_worse_answers_are_not() -> None:
    chat: list[Message] = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Why?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Let me see",
            "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": '{"at": "Oslo"}'}}],
        },
    ]
    assert comparable(chat, Notes(rejected="No idea")) == "why let me see look at oslo no idea"
    assert comparable("Plain text", Notes()) == "plain text"
