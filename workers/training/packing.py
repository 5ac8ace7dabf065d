"""Several documents in one row: which ones go together, and the tensors that the model gets.

Nothing is padded. Documents lie end to end in one flat row; their boundaries travel beside it, attention stays inside
them (attention.py) and positions restart at zero with each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.spec import TrainingSpec


class Example(Protocol):
    """One tokenized document."""

    @property
    def input_ids(self) -> NDArray[np.int32]:
        """Token ids, shape [length]."""

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Whether the token is a target of the loss, shape [length]."""


@dataclass(frozen=True)
class Batch:
    """Documents end to end. T tokens in all, of which N are targets."""

    input_ids: torch.Tensor
    """int64 [1, T]"""
    position_ids: torch.Tensor
    """int64 [1, T]; zero at the start of each document."""
    lengths: tuple[int, ...]
    """Tokens of each document; they sum to T."""
    predicting: torch.Tensor
    """int64 [N]: positions whose next token is a target."""
    targets: torch.Tensor
    """int64 [N]: those next tokens."""

    @property
    def num_tokens(self) -> int:
        """T"""
        return sum(self.lengths)

    @property
    def num_targets(self) -> int:
        """N"""
        return int(self.targets.numel())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`."""
        moved = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.input_ids, self.position_ids, self.predicting, self.targets)
        )
        input_ids, position_ids, predicting, targets = moved
        return Batch(input_ids, position_ids, self.lengths, predicting, targets)


def pack(lengths: Sequence[int], capacity: int, order: Sequence[int]) -> list[list[int]]:
    """Rows of document indices, each row at most `capacity` tokens long, by best fit decreasing.

    Documents are taken longest first, those of equal length as they come in `order`; each goes into the fullest row
    that still has room. The number of rows depends on the lengths alone. (Johnson, 1973: at most 11/9 of the
    optimum, plus a constant.)

    Raises:
        ValueError: a document is longer than `capacity`.
    """
    rows: list[list[int]] = []
    rows_by_room: dict[int, list[int]] = {}
    for document in sorted(order, key=lambda index: -lengths[index]):
        need = lengths[document]
        if need > capacity:
            raise ValueError(f"a document of {need} tokens does not fit into a row of {capacity}; raise pack_length")
        room = min((room for room, members in rows_by_room.items() if members and room >= need), default=None)
        if room is None:
            rows.append([])
            room, row = capacity, len(rows) - 1
        else:
            row = rows_by_room[room].pop()
        rows[row].append(document)
        rows_by_room.setdefault(room - need, []).append(row)
    return rows


def make_batch(examples: Sequence[Example]) -> Batch:
    """Joins `examples` into one batch. The first token of a document is never a target: nothing precedes it."""
    ids = np.concatenate([example.input_ids for example in examples]).astype(np.int64)
    positions = np.concatenate([np.arange(len(example.input_ids)) for example in examples])
    trainable = np.concatenate([example.trainable for example in examples]) & (positions > 0)
    (targets,) = np.nonzero(trainable)
    return Batch(
        input_ids=torch.from_numpy(ids)[None],
        position_ids=torch.from_numpy(positions)[None],
        lengths=tuple(len(example.input_ids) for example in examples),
        predicting=torch.from_numpy(targets - 1),
        targets=torch.from_numpy(ids[targets]),
    )


def pack_validation(examples: Sequence[Example], spec: TrainingSpec) -> list[Batch]:
    """Batches of all documents with a target, in a fixed order, as large as those of training."""
    useful = [example for example in examples if example.trainable[1:].any()]
    lengths = [len(example.input_ids) for example in useful]
    capacity = max([spec.pack_length * spec.per_device_train_batch_size, *lengths])
    return [make_batch([useful[index] for index in row]) for row in pack(lengths, capacity, range(len(useful)))]
