"""What a report says that the answers of pairs repeat is what the training computes once."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from workers.data.repeated_prompts import RepeatedPrompts
from workers.training.packing import own_lengths
from workers.training.samples import Sample

COLUMNS = ("input_ids", "trainable", "rejected_ids", "rejected_trainable")
TYPES = [pa.large_list(kind) for kind in (pa.int32(), pa.bool_()) * 2]


def _text(prompt, answer, num_masked=0):
    ids = [*prompt, *answer]
    return ids, [place >= len(prompt) + num_masked for place in range(len(ids))]


def _pair(prompt, better, worse, num_masked=0):
    return (*_text(prompt, better, num_masked), *_text(prompt, worse, num_masked))


PROMPT = list(range(100, 130))
ROWS = {
    "a prompt": _pair(PROMPT, [1, 2, 3], [4]),
    "another": _pair(PROMPT[:14], [1], [4, 4, 4, 4]),
    "answers alike at first": _pair(PROMPT, [1, 2, 3], [1, 2, 4]),
    "masked words of answers": _pair(PROMPT, [1, 2, 3, 4], [1, 2, 5, 6], num_masked=3),
    "the same answer": _pair(PROMPT, [1, 2], [1, 2]),
    "one answer is but a beginning": (*_text(PROMPT, [1, 2]), *_text(PROMPT, [])),
    "too short": _pair([1, 2, 3], [4], [5]),
    "no pair": (*_text(PROMPT, [1, 2]), [], []),
    "nothing in common": (*_text([9] * 20, [1]), *_text([8] * 20, [1])),
    "all targets": (*_text([], PROMPT), *_text([], PROMPT)),
}  # fmt: skip


@pytest.mark.parametrize("num_shared", [0, 10])
def test_it_is_what_a_pass_computes_once(num_shared):
    prompts = RepeatedPrompts()
    rows = list(ROWS.values())
    for part in (rows[:1], [], rows[1:]):
        # Slices: what is in a file before and behind them is no row of theirs.
        columns = zip(*[ROWS["another"], *part, ROWS["a prompt"]], strict=True)
        table = pa.table([pa.array(column, kind) for column, kind in zip(columns, TYPES, strict=True)], COLUMNS)
        prompts.add(table.slice(1, len(part)))
    samples = [_sample(number, row) for number, row in enumerate(rows)]
    counted = sum(len(one.input_ids) - num_shared for sample in samples for one in sample.documents)
    assert prompts.num_tokens(num_shared) == counted - sum(own_lengths(samples, num_shared)) > 0


def test_rows_of_one_text_repeat_nothing():
    prompts = RepeatedPrompts()
    prompts.add(pa.table([pa.array([None, []], kind) for kind in TYPES], COLUMNS))
    assert prompts.num_tokens(0) == 0


def _sample(number, row):
    texts = (row[:2], row[2:])
    return Sample(
        number,
        tuple(SimpleNamespace(input_ids=np.array(ids), trainable=np.array(mask, bool)) for ids, mask in texts if ids),
    )
