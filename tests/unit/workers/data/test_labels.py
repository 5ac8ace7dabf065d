"""Rows with a class: read from text or chats, tokenised as the tokenizer does it, and no token is a target."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from luthier.spec import ClassificationSpec
from workers.data.dataset import load_split
from workers.failures import DataError

Run = Callable[..., Any]
Write = Callable[..., Path]
WHOLE = {"validation_fraction": 0.0, "test_fraction": 0.0, "objective": ClassificationSpec(type="classification")}
QUESTION = {"role": "user", "content": "is it urgent?"}


def test_labelled_texts_are_tokens_as_the_tokenizer_makes_them(
    write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = [{"text": "hello world", "label": "a"}, {"text": "again", "label": 7.0}, {"text": "x", "label": True}]
    folder, outcome = run(write_rows(rows), **WHOLE)
    examples = load_split(folder, "train")
    assert [example.label for example in examples] == ["a", "7", "true"]
    assert [example.input_ids.tolist() for example in examples] == [tokenizer(row["text"])["input_ids"] for row in rows]
    assert not any(example.trainable.any() for example in examples)
    assert outcome.splits["train"].num_trainable_tokens == 0


def test_labelled_chats_may_end_with_any_turn(write_rows: Write, run: Run, tokenizer: PreTrainedTokenizerBase) -> None:
    answer = {"role": "assistant", "content": "no"}
    folder, _ = run(
        write_rows([{"messages": [QUESTION], "label": "a"}, {"messages": [QUESTION, answer], "label": "b"}]),
        **WHOLE,
    )
    first, second = load_split(folder, "train")
    assert tokenizer.decode(first.input_ids) == "<|im_start|>user\nis it urgent?<|im_end|>\n"
    assert tokenizer.decode(second.input_ids).endswith("no<|im_end|>\n")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x", "label": None}, "label is null; expected text, a whole number"),
        ({"text": "x", "label": 0.5}, "label is a number"),
        ({"text": "x", "label": " "}, "label is empty"),
        ({"text": "x"}, "no label; found 'text', expected text"),
        ({"messages": [], "label": "a"}, "no text"),
    ],
)
def test_a_row_without_a_class_is_named(write_rows: Write, run: Run, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.jsonl line 2: .*{reason}"):
        run(write_rows([{"text": "good", "label": "a"}, row]), format="labelled_text", **WHOLE)


def test_rows_without_labels_are_for_another_objective(write_rows: Write, run: Run) -> None:
    with pytest.raises(DataError, match=r"they fit text, which is for another objective\.type"):
        run(write_rows([{"text": "good"}]), **WHOLE)
