"""The rows of a dataset as samples, made when they are looked at: a split of any size takes no memory."""

from collections.abc import Sequence
from functools import cached_property
from typing import overload
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from workers.data.dataset import Example, Split
from workers.training.beginnings import repeated_tokens, sample_beginnings
from workers.training.samples import Sample


class Rows(Sequence[Sample]):
    """The samples of a split, in order.

    A sample is the same one for as long as somebody holds it: what an objective knows of it is looked up by it.
    """

    def __init__(self, split: Split) -> None:
        self._split = split
        self._held: WeakValueDictionary[int, Sample] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._split)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = _sample(number, self._split[number])
        return held

    def own_lengths(self, prefix_length: int) -> list[int]:
        """See `workers.training.packing.own_lengths`; rows are looked at only if they are pairs, and once."""
        rejected = self._split.rejected_lengths
        num_documents = 1 + (rejected > 0)
        lengths = self._split.lengths + rejected - prefix_length * num_documents
        if rejected.any():
            lengths = lengths - repeated_tokens(self._beginnings, prefix_length)
        own: list[int] = lengths.tolist()
        return own

    @cached_property
    def _beginnings(self) -> NDArray[np.int64]:
        return sample_beginnings(self)

    @property
    def difficulties(self) -> NDArray[np.float64]:
        """[samples]: how difficult each is, not a number where the data do not say; no row is looked at."""
        return self._split.difficulties


def difficulties_of(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """[samples]: as `Rows.difficulties`."""
    if isinstance(samples, Rows):
        return samples.difficulties
    return np.array([np.nan if one.difficulty is None else one.difficulty for one in samples], np.float64)


def _sample(number: int, row: Example) -> Sample:
    return Sample(
        number,
        documents=(row,) if row.rejected is None else (row, row.rejected),
        weights=row.weights,
        label=row.label,
        labels=row.labels,
        origin=f"{row.source}:{row.row}",
        component=row.component,
        difficulty=row.difficulty,
    )
