"""Which rows a step trains on: a pure function of the lengths, the seed and the step. To resume, know the step."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.spec import TrainingSpec
from workers.training.packing import pack


@dataclass(frozen=True)
class Position:
    """Where a step is in the data."""

    epoch: int
    """Full passes before it."""
    row: int
    """Rows of this pass before it."""


class Sampler:
    """Deals the rows (packs, or single documents) of each epoch in the order that the job names."""

    def __init__(self, lengths: Sequence[int], pack_length: int, spec: TrainingSpec) -> None:
        self._lengths = lengths
        self._pack_length = pack_length
        self._spec = spec
        self._rows_per_step = spec.per_device_train_batch_size * spec.gradient_accumulation_steps
        self._dealt: tuple[int, list[list[int]]] = (0, self._deal(0))
        self.steps_per_epoch = math.ceil(len(self._dealt[1]) / self._rows_per_step)

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self._spec.max_steps or math.ceil(self.steps_per_epoch * self._spec.num_train_epochs)

    def position(self, step: int) -> Position:
        """Where optimizer step `step` (from 0) starts."""
        epoch, in_epoch = divmod(step, self.steps_per_epoch)
        return Position(epoch, in_epoch * self._rows_per_step)

    def micro_batches(self, step: int) -> list[list[int]]:
        """Document indices of each forward pass of optimizer step `step`. The last step of an epoch may be short."""
        at = self.position(step)
        if at.epoch != self._dealt[0]:
            self._dealt = (at.epoch, self._deal(at.epoch))
        rows = self._dealt[1][at.row : at.row + self._rows_per_step]
        size = self._spec.per_device_train_batch_size
        return [[document for row in rows[i : i + size] for document in row] for i in range(0, len(rows), size)]

    def visited(self) -> Sequence[int]:
        """Documents that the run trains on at least once, in ascending order."""
        if self.num_steps >= self.steps_per_epoch:
            return range(len(self._lengths))
        steps = (self.micro_batches(step) for step in range(self.num_steps))
        return sorted(document for batches in steps for batch in batches for document in batch)

    def digest(self, step: int) -> str:
        """16 hex digits that stand for the documents of optimizer step `step`, in their order."""
        documents = [document for batch in self.micro_batches(step) for document in batch]
        return hashlib.sha256(",".join(map(str, documents)).encode()).hexdigest()[:16]

    def _deal(self, epoch: int) -> list[list[int]]:
        """Rows of `epoch`, as many in each. Packs of shuffled documents are shuffled again, because packing sorts."""
        rng = np.random.default_rng((self._spec.seed, epoch))
        order = ORDERS[self._spec.order](self._lengths, rng)
        if not self._spec.packing:
            return [[document] for document in order]
        if self._spec.order != "shuffled":
            return _fill(self._lengths, self._pack_length, order)
        rows = pack(self._lengths, self._pack_length, order)
        return [rows[index] for index in rng.permutation(len(rows))]


def _shuffled(lengths: Sequence[int], rng: np.random.Generator) -> list[int]:
    return [int(index) for index in rng.permutation(len(lengths))]


def _short_first(lengths: Sequence[int], rng: np.random.Generator) -> list[int]:
    return sorted(_shuffled(lengths, rng), key=lambda index: lengths[index])


ORDERS: dict[str, Callable[[Sequence[int], np.random.Generator], list[int]]] = {
    "shuffled": _shuffled,
    "as_given": lambda lengths, _: list(range(len(lengths))),
    "short_first": _short_first,
}
"""Documents of an epoch in their order, by the name that the job file uses."""


def _fill(lengths: Sequence[int], capacity: int, order: Sequence[int]) -> list[list[int]]:
    """Rows of at most `capacity` tokens, each closed when the next document no longer fits: the order stays."""
    rows: list[list[int]] = [[]]
    room = capacity
    for document in order:
        if lengths[document] > room and rows[-1]:
            rows.append([])
            room = capacity
        rows[-1].append(document)
        room -= lengths[document]
    return rows
