"""Which rows a step trains on: a pure function of the lengths, the seed and the step. To resume, know the step."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from luthier.spec import TrainingSpec
from luthier.spec.training import BY_DIFFICULTY
from workers.failures import DataError
from workers.training.packing import pack


@dataclass(frozen=True)
class Position:
    """Where a step is in the data."""

    epoch: int
    """Full passes before it."""
    row: int
    """Rows of this pass before it."""


@dataclass(frozen=True)
class _Documents:
    """What an order may go by."""

    lengths: Sequence[int]
    difficulties: NDArray[np.float64] | None


_Order = Callable[[_Documents, np.random.Generator], list[int]]


class Sampler:
    """Deals the rows (packs, or single documents) of each epoch in the order that the job names."""

    def __init__(
        self,
        lengths: Sequence[int],
        pack_length: int,
        spec: TrainingSpec,
        difficulties: NDArray[np.float64] | None = None,
    ) -> None:
        """
        Args:
            lengths: [documents]: tokens of each.
            pack_length: tokens of a row.
            spec: the job's `training` section.
            difficulties: [documents], not a number where nobody knows; only orders by difficulty look at them.

        Raises:
            DataError: the order is one by difficulty, and none is known.
        """
        if spec.order in BY_DIFFICULTY and (difficulties is None or np.isnan(difficulties).all()):
            raise DataError(
                f"training.order is {spec.order}, and no row of the dataset says how difficult it is; name the column "
                "by data.curriculum, and submit the job again"
            )
        self._lengths = lengths
        self._documents = _Documents(lengths, difficulties)
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
        order = ORDERS[self._spec.order](self._documents, rng)
        if not self._spec.packing:
            return [[document] for document in order]
        if self._spec.order != "shuffled":
            return _fill(self._lengths, self._pack_length, order)
        rows = pack(self._lengths, self._pack_length, order)
        return [rows[index] for index in rng.permutation(len(rows))]


def _shuffled(documents: _Documents, rng: np.random.Generator) -> list[int]:
    return [int(index) for index in rng.permutation(len(documents.lengths))]


def _short_first(documents: _Documents, rng: np.random.Generator) -> list[int]:
    return sorted(_shuffled(documents, rng), key=lambda index: documents.lengths[index])


def _by_difficulty(sign: int) -> _Order:
    """From the lowest (1) or the highest (-1) on; those of which nobody knows it are the last either way."""

    def order(documents: _Documents, rng: np.random.Generator) -> list[int]:
        assert documents.difficulties is not None, "the sampler refuses this"
        shuffled = np.array(_shuffled(documents, rng), np.int64)
        # numpy sorts what is not a number last.
        chosen: list[int] = shuffled[np.argsort(sign * documents.difficulties[shuffled], kind="stable")].tolist()
        return chosen

    return order


ORDERS: dict[str, _Order] = {
    "shuffled": _shuffled,
    "as_given": lambda documents, _: list(range(len(documents.lengths))),
    "short_first": _short_first,
    "easy_first": _by_difficulty(1),
    "hard_first": _by_difficulty(-1),
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
