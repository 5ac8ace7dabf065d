"""What a report says that all texts begin with is what the training shares."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from workers.data.shared_start import SharedStart
from workers.training.beginnings import shared_prefix

SYSTEM = list(range(100, 120))


def _text(own, num_masked, system=SYSTEM):
    ids = [*system, *own]
    return ids, [place >= len(system) + num_masked for place in range(len(ids))]


CASES = {
    "a system prompt": [_text([7, number, 9], 1) for number in range(40)],
    "a target follows at once": [_text([7, 8, 9], 0), _text([7, 8, 6], 0)],
    "one text is but its beginning": [_text([7, 8], 1), _text([], 0)],
    "one text differs late": [*[_text([7, 8, 9], 1)] * 30, _text([7, 8], 1, [*SYSTEM[:12], 1, *SYSTEM[13:]])],
    "too short to share": [_text([1, 2, 3], 1, SYSTEM[:5]), _text([4, 5, 6], 1, SYSTEM[:5])],
    "nothing in common": [_text([1], 0, []), _text([2, 3], 0, [])],
    "one text": [_text([7, 8, 9], 1)],
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_a_pass_computes_once(name):
    texts = CASES[name]
    start = SharedStart()
    for part in (texts[:1], [([], [])], texts[1:4], texts[4:]):
        ids, masks = ([pair[side] for pair in part] for side in (0, 1))
        start.add(
            pa.chunked_array([pa.array([[], *ids], pa.large_list(pa.int32())).slice(1)]),
            pa.chunked_array([pa.array([[], *masks], pa.large_list(pa.bool_())).slice(1)]),
        )
    documents = [SimpleNamespace(input_ids=np.array(ids), trainable=np.array(mask, bool)) for ids, mask in texts]
    assert start.num_tokens == shared_prefix(documents)


def test_without_texts_nothing_is_shared():
    assert SharedStart().num_tokens == 0
