"""What documents begin with alike, so that a pass computes it once: all of them, and those of one sample.

All documents of a run often begin with one system prompt, and the two answers of a pair with the pair's own prompt. A
causal model computes the same for such tokens whatever follows. What is shared ends before the first target, and
before what predicts it.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from workers.training.samples import Document, Sample

_SHORTEST = 8
"""A shorter common beginning is not worth its trouble: a group of its own in attention, or another copy."""


def shared_prefix(documents: Iterable[Document]) -> int:
    """How many tokens all documents begin with, none of them a target, nor what predicts one.

    The last of them would predict a target of every document, and the order in which threads add up its gradient is
    not fixed: runs would not be equal bit for bit.
    """
    others = iter(documents)
    first = next(others)
    length = len(first.input_ids)
    for document in chain([first], others):
        length = min(length, len(document.input_ids) - 1)
        differs = (document.input_ids[:length] != first.input_ids[:length]) | document.trainable[1 : length + 1]
        length = int(differs.argmax()) if differs.any() else length
        if length < _SHORTEST:
            return 0
    return length


def sample_beginnings(samples: Iterable[Sample]) -> NDArray[np.int64]:
    """[samples]: tokens that all documents of each begin with, what all samples share included; 0 for one document."""
    return np.array([shared_prefix(one.documents) if len(one.documents) > 1 else 0 for one in samples], np.int64)


def repeated_tokens(beginnings: NDArray[np.int64], prefix_length: int) -> NDArray[np.int64]:
    """[samples]: what of `beginnings` stands behind the prefix that all samples share, where that is worth sharing."""
    own = beginnings - prefix_length
    return np.where(own >= _SHORTEST, own, 0)
