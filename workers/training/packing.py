"""Several documents in one row: which ones go together, and the tensors that the model gets.

Documents lie end to end in one flat row, without padding between them; their boundaries travel beside it, and
attention stays inside them (attention.py). What all documents begin with, usually the system prompt, stands in the row
once: a causal model computes the same for it whatever follows, so every document continues it, at the position where it
would be. So does, once for each sample, what its documents begin with alike: the prompt of a pair (beginnings.py).
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from luthier.spec import TrainingSpec
from workers.training.beginnings import repeated_tokens, sample_beginnings, shared_prefix
from workers.training.layout import Beginnings, length_class
from workers.training.rows import Rows
from workers.training.samples import Document, Picked, Sample, documents_of
from workers.training.transfer import send


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
    """Tokens of each document after the prefix; with it, and without what `beginnings` says, they sum to T."""
    predicting: torch.Tensor
    """int64 [N]: where in the row each target is predicted from."""
    targets: torch.Tensor
    """int64 [N]: token ids."""
    owners: torch.Tensor
    """int64 [N]: the document of each target, counted as in `ends`."""
    origins: NDArray[np.int64]
    """[N]: where each target stands among the tokens of the documents, end to end in the order of `ends`. What is known
    of each token beside the batch, such as its weight, is looked up by it."""
    ends: torch.Tensor
    """int64 [D]: where in the row the last token of each document stands; the documents in the order of `samples`."""
    beginnings: Beginnings = ()
    """Which tokens after the prefix stand in the row once for several documents."""
    samples: tuple[Sample, ...] = ()
    """Whose documents these are."""

    @property
    def num_documents(self) -> int:
        """D"""
        return len(self.lengths)

    @property
    def num_tokens(self) -> int:
        """Tokens of the documents; what they share counts once for each, as it would without sharing."""
        return sum(self.lengths) + self.prefix_length * len(self.lengths)

    @property
    def num_targets(self) -> int:
        """N"""
        return int(self.targets.numel())

    def to(self, device: torch.device) -> "Batch":
        """The same batch, which is on the CPU, on `device`; the host does not wait for the copies."""
        return replace(
            self,
            input_ids=send(self.input_ids, device),
            position_ids=send(self.position_ids, device),
            predicting=send(self.predicting, device),
            targets=send(self.targets, device),
            owners=send(self.owners, device),
            ends=send(self.ends, device),
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


def split_pass(samples: Sequence[int], lengths: Sequence[int], prefix_length: int, refit: int) -> list[list[int]]:
    """The samples of one forward pass, dealt into several of at most 1/2^`refit` of its tokens.

    Each has at least one sample, however long it is.

    Args:
        samples: of the pass, indices into `lengths`.
        lengths: tokens that each sample adds to the shared prefix.
        prefix_length: tokens of the shared prefix, which stands in every pass.
        refit: number of halvings; 0 leaves the pass as it is.
    """
    if refit == 0:
        return [list(samples)]
    own = [lengths[sample] for sample in samples]
    share = (prefix_length + sum(own)) // 2**refit
    return pack(lengths, max(share - prefix_length, *own), samples)


def batch_of(samples: Sequence[Sample], prefix_length: int = 0) -> Batch:
    """All documents of `samples`, which share their first `prefix_length` tokens, in one row."""
    repeated = repeated_tokens(sample_beginnings(samples), prefix_length).tolist()
    alike = [(number, common) for number, common in enumerate(repeated) for _ in samples[number].documents]
    return replace(make_batch([*documents_of(samples)], prefix_length, alike), samples=tuple(samples))


def make_batch(documents: Sequence[Document], prefix_length: int = 0, alike: Sequence[tuple[int, int]] = ()) -> Batch:
    """Joins `documents`, which share their first `prefix_length` tokens. A document's first token is never a target.

    Documents of one length class come to lie together, as attention wants them; their order means nothing.

    Args:
        documents: at least one.
        prefix_length: what all of them begin with.
        alike: for each document the number of its sample, and how many tokens after the prefix all of the sample's
            documents begin with, none of which predicts a target; empty: none.
    """
    places = sorted(
        range(len(documents)), key=lambda index: -length_class(len(documents[index].input_ids) - prefix_length)
    )
    placed = [documents[index] for index in places]
    beginnings = _beginnings([alike[index] for index in places]) if alike else ()
    firsts = [prefix_length + number for _, number in beginnings] or [prefix_length] * len(placed)
    rests = [document.input_ids[first:] for document, first in zip(placed, firsts, strict=True)]
    lengths = [len(rest) for rest in rests]
    stops = prefix_length + np.cumsum(lengths)
    ids = np.concatenate([placed[0].input_ids[:prefix_length], *rests]).astype(np.int64)
    prefix = np.arange(prefix_length)
    own = [np.arange(first, first + length) for first, length in zip(firsts, lengths, strict=True)]
    positions = np.concatenate([prefix, *own])
    trainable = np.concatenate(
        [np.zeros(prefix_length, bool), *(one.trainable[first:] for one, first in zip(placed, firsts, strict=True))]
    )
    before = np.arange(len(ids)) - 1
    before[stops - lengths] = prefix_length - 1  # where a document has tokens of another one, no target follows them
    (targets,) = np.nonzero(trainable & (positions > 0))
    owners = np.concatenate([np.zeros(prefix_length, np.int64), np.repeat(places, lengths)])
    starts = np.cumsum([0, *(len(document.input_ids) for document in documents)])
    origins = np.concatenate([prefix, *(starts[place] + one for place, one in zip(places, own, strict=True))])
    ends = np.empty(len(documents), np.int64)
    ends[places] = stops - 1
    return Batch(
        input_ids=torch.from_numpy(ids)[None],
        position_ids=torch.from_numpy(positions)[None],
        prefix_length=prefix_length,
        lengths=tuple(len(document.input_ids) - prefix_length for document in placed),
        predicting=torch.from_numpy(before[targets]),
        targets=torch.from_numpy(ids[targets]),
        owners=torch.from_numpy(owners[targets]),
        origins=origins[targets],
        ends=torch.from_numpy(ends),
        beginnings=beginnings,
    )


def _beginnings(alike: Sequence[tuple[int, int]]) -> Beginnings:
    """Of documents in the order of the row: the first of each sample has all of its tokens there."""
    if not any(number for _, number in alike):
        return ()
    first: dict[int, int] = {}
    earlier = [(first.setdefault(sample, place), number) for place, (sample, number) in enumerate(alike)]
    return tuple((one, number) if one < place else (0, 0) for place, (one, number) in enumerate(earlier))


class FixedBatches(Sequence[Batch]):
    """Batches of `samples` in a fixed order, as large as those of training, for passes without learning.

    Each look at one makes it, on `device`.
    """

    def __init__(self, samples: Sequence[Sample], spec: TrainingSpec, device: torch.device, refit: int = 0) -> None:
        """`refit`: how often a forward pass is halved."""
        self._samples = samples
        self._device = device
        self._prefix_length = shared_prefix(documents_of(samples)) if samples else 0
        lengths = own_lengths(samples, self._prefix_length)
        share = spec.pack_length * spec.per_device_train_batch_size // 2**refit
        capacity = max(share - self._prefix_length, *lengths, 0)
        self._rows = pack(lengths, capacity, range(len(samples)))

    @property
    def samples(self) -> Sequence[Sample]:
        """Those of all batches, in their order."""
        return Picked(self._samples, [place for row in self._rows for place in row])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...

    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return batch_of([self._samples[place] for place in self._rows[index]], self._prefix_length).to(self._device)


def own_lengths(samples: Sequence[Sample], prefix_length: int) -> list[int]:
    """Tokens that each sample adds to the prefix that all documents share; what its own documents share counts once."""
    if isinstance(samples, Rows):
        return samples.own_lengths(prefix_length)
    repeated = repeated_tokens(sample_beginnings(samples), prefix_length).tolist()
    return [
        sum(len(document.input_ids) - prefix_length - common for document in sample.documents) + common
        for sample, common in zip(samples, repeated, strict=True)
    ]
