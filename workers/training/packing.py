"""Several documents in one row: which ones go together, and the tensors that the model gets.

Nothing is padded. Documents lie end to end in one flat row; their boundaries travel beside it, and attention stays
inside them (attention.py). What all documents begin with, usually the system prompt, stands in the row once: a causal
model computes the same for it whatever follows, so every document continues it, at the position where it would be.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.spec import TrainingSpec
from workers.training.attention import length_class


class Example(Protocol):
    """One tokenized document."""

    @property
    def input_ids(self) -> NDArray[np.int32]:
        """Token ids, shape [length]."""

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Whether the token is a target of the loss, shape [length]."""


# A shorter common beginning is not worth the extra attention group.
_MIN_SHARED_PREFIX = 8


@dataclass(frozen=True)
class Batch:
    """The shared prefix, then what is left of each document, end to end. T tokens in all, of which N are targets."""

    input_ids: torch.Tensor
    """int64 [1, T]"""
    position_ids: torch.Tensor
    """int64 [1, T]; where the token stands in its own document."""
    prefix_length: int
    """Tokens that all documents share; 0: none."""
    lengths: tuple[int, ...]
    """Tokens of each document after the prefix; with it they sum to T."""
    predicting: torch.Tensor
    """int64 [N]: where in the row each target is predicted from."""
    targets: torch.Tensor
    """int64 [N]: token ids."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the documents; the prefix counts once for each, as it would without sharing."""
        return sum(self.lengths) + self.prefix_length * len(self.lengths)

    @property
    def num_targets(self) -> int:
        """N"""
        return int(self.targets.numel())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            predicting=self.predicting.to(device),
            targets=self.targets.to(device),
        )


def pack(lengths: Sequence[int], capacity: int, order: Sequence[int]) -> list[list[int]]:
    """Rows of document indices, each row at most `capacity` tokens long, by best fit decreasing.

    Documents are taken longest first, those of equal length as they come in `order`; each goes into the fullest row
    that still has room. The number of rows depends on the lengths alone. (Johnson, 1973: at most 11/9 of the
    optimum, plus a constant.)

    Raises:
        ValueError: a document is longer than `capacity`.
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for document in sorted(order, key=lambda index: -lengths[index]):
        need = lengths[document]
        if need > capacity:
            raise ValueError(f"a document of {need} tokens does not fit into a row of {capacity}; raise pack_length")
        best = bisect.bisect_left(rooms, (need, 0))
        if best == len(rooms):
            rows.append([])
            room, row = capacity, len(rows) - 1
        else:
            room, row = rooms.pop(best)
        rows[row].append(document)
        bisect.insort(rooms, (room - need, row))
    return rows


def split_pass(documents: Sequence[int], lengths: Sequence[int], prefix_length: int, refit: int) -> list[list[int]]:
    """The documents of one forward pass, dealt into several of at most 1/2^`refit` of its tokens.

    Each has at least one document, however long it is.

    Args:
        documents: of the pass, indices into `lengths`.
        lengths: tokens after the shared prefix.
        prefix_length: tokens of the shared prefix, which stands in every pass.
        refit: number of halvings; 0 leaves the pass as it is.
    """
    if refit == 0:
        return [list(documents)]
    own = [lengths[document] for document in documents]
    share = (prefix_length + sum(own)) // 2**refit
    return pack(lengths, max(share - prefix_length, *own), documents)


def shared_prefix(examples: Sequence[Example]) -> int:
    """How many tokens all documents begin with, none of them a target, nor what predicts one.

    The last of them would predict a target of every document, and the order in which threads add up its gradient is
    not fixed: runs would not be equal bit for bit.
    """
    first = examples[0].input_ids
    length = min(len(example.input_ids) - 1 for example in examples)
    for example in examples:
        differs = (example.input_ids[:length] != first[:length]) | example.trainable[1 : length + 1]
        length = int(differs.argmax()) if differs.any() else length
    return length if length >= _MIN_SHARED_PREFIX else 0


def make_batch(examples: Sequence[Example], prefix_length: int = 0) -> Batch:
    """Joins `examples`, which share their first `prefix_length` tokens. A document's first token is never a target.

    Documents of one length class come to lie together, as attention wants them; their order means nothing.
    """
    examples = sorted(examples, key=lambda example: -length_class(len(example.input_ids) - prefix_length))
    rests = [example.input_ids[prefix_length:] for example in examples]
    lengths = [len(rest) for rest in rests]
    starts = prefix_length + np.cumsum([0, *lengths[:-1]])
    ids = np.concatenate([examples[0].input_ids[:prefix_length], *rests]).astype(np.int64)
    positions = np.concatenate([np.arange(prefix_length), *(prefix_length + np.arange(length) for length in lengths)])
    trainable = np.concatenate(
        [np.zeros(prefix_length, bool), *(example.trainable[prefix_length:] for example in examples)]
    )
    before = np.arange(len(ids)) - 1
    before[starts] = prefix_length - 1
    (targets,) = np.nonzero(trainable & (positions > 0))
    return Batch(
        input_ids=torch.from_numpy(ids)[None],
        position_ids=torch.from_numpy(positions)[None],
        prefix_length=prefix_length,
        lengths=tuple(lengths),
        predicting=torch.from_numpy(before[targets]),
        targets=torch.from_numpy(ids[targets]),
    )


def pack_validation(examples: Sequence[Example], spec: TrainingSpec, refit: int = 0) -> list[Batch]:
    """Batches of all documents with a target, in a fixed order, as large as the forward passes of training."""
    useful = [example for example in examples if example.trainable[1:].any()]
    if not useful:
        return []
    prefix_length = shared_prefix(useful)
    lengths = [len(example.input_ids) - prefix_length for example in useful]
    share = spec.pack_length * spec.per_device_train_batch_size // 2**refit
    capacity = max(share - prefix_length, *lengths)
    rows = pack(lengths, capacity, range(len(useful)))
    return [make_batch([useful[index] for index in row], prefix_length) for row in rows]
