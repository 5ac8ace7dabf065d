"""Rows that the base model has no room or no embedding for are refused with the row, the reason and the remedy."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from luthier.spec import LoraSpec, MethodSpec, PromptTuningSpec
from workers.failures import DataError
from workers.training.row_limits import check_rows
from workers.training.samples import Sample

PROMPT = PromptTuningSpec(type="prompt_tuning", num_virtual_tokens=10)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with no more than the config of a model with 64 places and 50 tokens."""
    config = {"model_type": "llama", "max_position_embeddings": 64, "vocab_size": 50}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def _rows(length: int, highest: int = 49) -> list[Sample]:
    """A short row, and a pair whose second answer is as long as that."""
    short, long = (np.arange(size, dtype=np.int32) % 50 for size in (3, length))
    long[-1] = highest
    documents = [SimpleNamespace(input_ids=ids, trainable=ids > 0) for ids in (short, long)]
    return [Sample(0, (documents[0],)), Sample(1, tuple(documents), origin="rows.jsonl:7")]


@pytest.mark.parametrize(("length", "method"), [(64, LoraSpec()), (54, PROMPT)])
def test_rows_that_just_fit(base: Path, length: int, method: MethodSpec) -> None:
    check_rows(_rows(length), base, method)


@pytest.mark.parametrize(
    ("rows", "method", "words"),
    [
        (
            _rows(65),
            LoraSpec(),
            r"rows\.jsonl:7 has 65 tokens, .*context of base_model is 64; set data\.max_length to 64",
        ),
        (_rows(55), PROMPT, r"is 64, 10 of them for method\.num_virtual_tokens; set data\.max_length to 54 or less"),
        (
            _rows(9, highest=50),
            LoraSpec(),
            r"rows\.jsonl:7 has the token 50, .*for 50 tokens: .*; restore the tokenizer",
        ),
    ],
)
def test_rows_that_do_not(base: Path, rows: list[Sample], method: MethodSpec, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_rows(rows, base, method)


def test_a_row_longer_than_the_sliding_window_is_refused_before_training(base):
    config = {"model_type": "mistral", "max_position_embeddings": 64, "vocab_size": 50, "sliding_window": 20}
    (base / "config.json").write_text(json.dumps(config))
    check_rows(_rows(20), base, LoraSpec())
    with pytest.raises(
        DataError, match=r"7 has 21 tokens, and base_model looks back 20 .*data\.max_length to 20 or less"
    ):
        check_rows(_rows(21), base, LoraSpec())
    with pytest.raises(DataError, match=r"set data\.max_length to 10 or less"):
        check_rows(_rows(11), base, PROMPT)
