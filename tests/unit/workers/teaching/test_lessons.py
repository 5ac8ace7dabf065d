"""Every answer is kept or dropped with a reason; a conversation is in one split, and where asked once."""

from pathlib import Path
from typing import Any

import numpy as np

from workers.data.dataset import Example, load_split
from workers.data.tokens.fit import Limit
from workers.models import load_tokenizer
from workers.teaching.answering import Answer
from workers.teaching.lessons import Lessons, Teaching
from workers.teaching.questions import BEYOND_CONTEXT, key_of
from workers.teaching.seen import Seen


def _row(number: int, prompt: str, reference: str = "x", **more: Any) -> Example:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reference}]
    return Example(number, "rows.jsonl", np.zeros(1, np.int32), np.zeros(1, np.bool_), messages, **more)


def _write(
    folder: Path,
    model: Path,
    rows: list[Example],
    said: list[list[Answer]],
    num_samples: int = 1,
    *,
    deduplicate: bool = True,
    test: list[Example] | None = None,
    limit: Limit = Limit(64, "drop"),  # noqa: B008 - immutable
) -> Lessons:
    answers = {key_of(row): list(own) for row, own in zip(rows, said, strict=False)}
    seen = Seen(deduplicate=deduplicate)
    for row in test or []:
        seen.fault("test", row, 0, row.messages or [])
    refused = {key_of(rows[-1]): (BEYOND_CONTEXT, "the prompt has 9 tokens")} if len(said) < len(rows) else {}
    teaching = Teaching(folder, answers, refused, load_tokenizer(model), {"": limit}, seen)
    return teaching.write("train", rows, num_samples)


def test_every_answer_is_kept_or_dropped_with_a_reason(tiny_model_dir: Path, tmp_path: Path) -> None:
    rows = [_row(number, f"question {number}") for number in range(1, 6)]
    said = [
        [Answer("good", True), Answer("good", True)],
        [Answer("cut", False), Answer("another", True)],
        [Answer(" \n", True), Answer("long " * 80, True)],
        [Answer("in the test", True), Answer("fine", True)],
    ]
    test = [_row(9, "question 4", "in  the test")]
    outcome = _write(tmp_path, tiny_model_dir, rows, said, 2, test=test)
    assert dict(outcome.ledger.counts) == {
        "duplicate": 1,
        "the teacher's answer was cut off": 1,
        "the teacher said nothing": 1,
        "overlong": 1,
        "also in validation or test": 1,
        "beyond the teacher's context": 2,
    }
    assert outcome.num_asked == 10 == outcome.num_kept + outcome.ledger.counts.total()
    kept = load_split(tmp_path, "train")
    assert [(row.row, row.reference) for row in kept] == [(1, "good"), (2, "another"), (4, "fine")]
    assert outcome.num_trainable_tokens == sum(int(row.trainable.sum()) for row in kept)


def test_two_rows_with_one_prompt_are_one_lesson_unless_asked(tiny_model_dir: Path, tmp_path: Path) -> None:
    rows = [_row(1, "same"), _row(2, "same")]
    said = [[Answer("yes", True)]] * 2
    (tmp_path / "once").mkdir()
    (tmp_path / "twice").mkdir()
    assert _write(tmp_path / "once", tiny_model_dir, rows, said).ledger.counts == {"duplicate": 1}
    assert _write(tmp_path / "twice", tiny_model_dir, rows, said, deduplicate=False).num_kept == 2


def test_a_row_that_a_mixture_repeats_stays_repeated(tiny_model_dir: Path, tmp_path: Path) -> None:
    rows = [_row(1, "same")] * 3
    assert _write(tmp_path, tiny_model_dir, rows, [[Answer("yes", True)]] * 3).num_kept == 3


def test_a_longer_answer_is_cut_where_the_data_section_says_so(tiny_model_dir: Path, tmp_path: Path) -> None:
    outcome = _write(
        tmp_path, tiny_model_dir, [_row(1, "q")], [[Answer("long " * 80, True)]], limit=Limit(32, "truncate")
    )
    (row,) = load_split(tmp_path, "train")
    assert (outcome.num_truncated, outcome.num_tokens, len(row.input_ids)) == (1, 32, 32)


def test_the_answer_counts_as_much_as_the_one_that_it_stands_for(tiny_model_dir: Path, tmp_path: Path) -> None:
    weights = np.array([0.0, 0.25, 0.25], np.float32)
    _write(tmp_path, tiny_model_dir, [_row(1, "q", weights=weights)], [[Answer("yes", True)]])
    (row,) = load_split(tmp_path, "train")
    assert row.weights is not None
    assert set(row.weights[row.trainable].tolist()) == {0.25}


def test_nothing_of_a_prompt_is_learned(tiny_model_dir: Path, tmp_path: Path) -> None:
    turns = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
    row = Example(1, "s", np.zeros(1, np.int32), np.zeros(1, np.bool_), [*turns, {"role": "assistant", "content": "d"}])
    _write(tmp_path, tiny_model_dir, [row], [[Answer("yes", True)]])
    (kept,) = load_split(tmp_path, "train")
    learned = load_tokenizer(tiny_model_dir).decode(kept.input_ids[kept.trainable])
    assert learned.startswith("yes")
    assert kept.prompt == turns
