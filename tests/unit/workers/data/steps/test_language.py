"""Which language a row is in: right where it can be told, nothing where it cannot, and at next to no cost."""

import json
import time
from pathlib import Path

import pytest

from workers.data.row import Message
from workers.data.steps.language import identify, languages, learned_text

SAMPLE = [json.loads(line) for line in (Path(__file__).parent / "multilingual.jsonl").read_text("utf-8").splitlines()]


def exchange(prompt: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def test_every_sentence_of_the_sample_is_identified() -> None:
    wrong = [(row, found) for row in SAMPLE if (found := identify(row["text"])) not in (row["language"], None)]
    told = sum(identify(row["text"]) is not None for row in SAMPLE)
    assert len({row["language"] for row in SAMPLE}) == 24
    assert wrong == []
    assert told >= 0.95 * len(SAMPLE)


@pytest.mark.parametrize(
    "text", ["", " \n", "42", "ok", "😀😀😀", "\x00\x00", "half \ud83d of a pair", "a" * 1_000_000]
)
def test_what_cannot_be_told_has_no_language(text: str) -> None:
    assert identify(text) is None


def test_the_answers_decide() -> None:
    chat = exchange("Translate into German: Where is the station?", "Wo ist bitte der Bahnhof, und wie komme ich hin?")
    assert identify(learned_text(chat)) == "de"
    assert learned_text(chat[:1]) == chat[0]["content"]
    assert "de" in languages()


def test_it_costs_about_as_much_as_parsing_the_row() -> None:
    """Compared in one run, in time of the processor; the best of nine."""
    texts = [row["text"] * 5 for row in SAMPLE] * 10
    lines = [json.dumps({"messages": exchange("x", text)}, ensure_ascii=False) for text in texts]
    parsed, identified = [], []
    for _ in range(9):
        start = time.process_time()
        for line in lines:
            json.loads(line)
        middle = time.process_time()
        for text in texts:
            identify(text)
        parsed.append(middle - start)
        identified.append(time.process_time() - middle)
    assert min(identified) < 6 * min(parsed)
