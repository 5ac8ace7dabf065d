"""What a step learns from: samples, each of one document or of several that only mean something together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray


class Document(Protocol):
    """One tokenized text."""

    @property
    def input_ids(self) -> NDArray[np.int32]:
        """Token ids, shape [length]."""

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Whether the token is a target of the loss, shape [length]."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One row of the data, as the objective reads it. It is never divided between two forward passes.

    It equals itself alone, so that an objective can look up what it knows of it; numbers repeat between splits.
    """

    number: int
    """Which row of its split, from 0."""
    documents: tuple[Document, ...]
    """For a pair of answers: the chosen one, then the rejected one."""
    weights: NDArray[np.float32] | None = None
    """What each token of the documents, end to end, counts as a target; None: 1 each."""
    label: str | None = None
    """What kind of row it is, where the data say so."""
    labels: tuple[str, ...] | None = None
    """The classes that it is of, each once; empty: of none. None: it is not a row with a set of classes."""
    origin: str = ""
    """File and line that it came from, for people."""
    component: str = ""
    """Name of the source that it is from, in a job with several."""
    difficulty: float | None = None
    """The larger the harder; None: the data do not say."""

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted; nothing predicts a document's first one."""
        return sum(int(document.trainable[1:].sum()) for document in self.documents)

    @property
    def longest(self) -> int:
        """Tokens of its longest document."""
        return max(len(document.input_ids) for document in self.documents)


@dataclass(frozen=True)
class Picked(Sequence[Sample]):
    """Some samples out of many, which are not made before they are looked at."""

    samples: Sequence[Sample]
    places: Sequence[int]
    """In `samples`, in the order in which they are here."""

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self.samples[place] for place in self.places[index]]
        return self.samples[self.places[index]]


def documents_of(samples: Iterable[Sample]) -> Iterator[Document]:
    """Their documents, end to end, one at a time."""
    return (document for sample in samples for document in sample.documents)
