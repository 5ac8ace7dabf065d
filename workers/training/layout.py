"""Where each document of a row lies, and what it may look at: known once per batch, handed to every layer.

A row is the shared prefix, then documents end to end. A token sees its own document up to itself, and all of the
prefix. How attention computes that is up to a kernel (kernels/); the views of the row that a kernel wants are made when
the first layer asks for them.

A document may begin as an earlier one does, as two answers to one prompt do. Then that beginning stands in the row
once, and so does all that is computed token by token. Together with the prefix that makes a tree of any depth. Kernels
know nothing of it: for them the documents are laid out whole, and of a token that they see twice one output is kept.

Matrix products in bf16 on a CPU lose up to a sixth of their speed where the number of their rows is no multiple of 8
(benchmarks/rows_of_products.py). So a row ends with a few tokens that nothing sees, and groups of documents are padded
to round lengths.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from workers.training.transfer import send

_ROUND_ROW = 8
_ROUND_KEYS = 16

Beginnings = tuple[tuple[int, int], ...]
"""For each document: an earlier one, and how many of its own first tokens after the prefix are that one's as well.

With 0 all of its tokens are in the row, and the earlier one means nothing. Empty: so it is with every document."""


@dataclass(frozen=True)
class Group:
    """Documents of similar length, side by side. Their tokens are one stretch of the row."""

    num_documents: int
    length: int
    """What each is padded to: the longest one, and then as many that a round number of keys is seen."""
    slots: torch.Tensor
    """int64 [tokens of this group]: where they go in the padded batch [num_documents * length]."""
    sees_prefix: bool
    """Whether its documents continue the shared prefix; only the prefix itself does not."""


@dataclass(frozen=True)
class Documents:
    """The layout of one row of T tokens. Equal layouts are equal values."""

    prefix_length: int
    """Tokens of the shared prefix, the first of the row; 0: none."""
    lengths: tuple[int, ...]
    """Tokens of each document after the prefix; with it, and without what `beginnings` says, they sum to T."""
    device: torch.device
    """Of the row, and of the tensors of the views."""
    padding: int = 0
    """How many of the last document's tokens, the last of the row, mean nothing."""
    beginnings: Beginnings = ()
    """Which tokens stand in the row once for several documents."""

    @cached_property
    def whole(self) -> "Documents":
        """The layout of the row in which each document has all of its tokens: prefix + sum(lengths) of them."""
        return replace(self, beginnings=()) if self.beginnings else self

    @cached_property
    def places(self) -> torch.Tensor:
        """int64 [tokens of `whole`]: where in this row each of them stands."""
        parts: list[torch.Tensor] = []
        stop = self.prefix_length
        for length, (earlier, number) in zip(self.lengths, self.beginnings, strict=True):
            start, stop = stop, stop + length - number
            own = torch.arange(start, stop)
            parts.append(torch.cat([parts[earlier][:number], own]) if number else own)
        return send(torch.cat([torch.arange(self.prefix_length), *parts]), self.device)

    @cached_property
    def kept(self) -> torch.Tensor:
        """int64 [T]: the inverse, by the first document that a token is of."""
        parts, start = [torch.arange(self.prefix_length)], self.prefix_length
        for length, (_, number) in zip(self.lengths, self.beginnings, strict=True):
            parts.append(torch.arange(start + number, start + length))
            start += length
        return send(torch.cat(parts), self.device)

    @property
    def longest(self) -> int:
        """Tokens of the longest document, the shared prefix included, without padding."""
        return self.prefix_length + max([*self.lengths[:-1], self.lengths[-1] - self.padding])

    @property
    def stretches(self) -> tuple[int, ...]:
        """Tokens of the prefix, if there is one, and of each document, as they lie in the row of `whole`."""
        return (self.prefix_length, *self.lengths) if self.prefix_length else self.lengths

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Tokens of each group; they sum to those of `whole`."""
        return tuple(len(group.slots) for group in self.groups)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The row of `whole` as padded batches, in its order. The prefix, when there is one, is the first."""
        members = [([self.prefix_length], False)] if self.prefix_length else []
        for _, alike in itertools.groupby(self.lengths, key=length_class):
            members.append((list(alike), self.prefix_length > 0))
        groups = []
        for lengths, sees_prefix in members:
            in_front = self.prefix_length if sees_prefix else 0
            longest = _rounded(in_front + max(lengths), _ROUND_KEYS) - in_front
            slots = torch.cat([torch.arange(length) + place * longest for place, length in enumerate(lengths)])
            groups.append(Group(len(lengths), longest, send(slots, self.device), sees_prefix))
        return tuple(groups)


def length_class(length: int) -> int:
    """Documents of one class are padded together: one class per power of two, so less than half is padding."""
    return (length - 1).bit_length()


def layout(
    lengths: Sequence[int], prefix_length: int, device: torch.device, padding: int = 0, beginnings: Beginnings = ()
) -> Documents:
    """The layout of a row: the shared prefix, documents of these lengths, those of one class together, and padding."""
    return Documents(prefix_length, (*lengths[:-1], lengths[-1] + padding), device, padding, beginnings)


def padding_of(num_tokens: int) -> int:
    """How many tokens a row of so many has to end with besides, to be one that products are quick with."""
    return _rounded(num_tokens, _ROUND_ROW) - num_tokens


def behind_shared_tokens(documents: Documents, number: int) -> Documents:
    """The layout of the row that has so many further tokens in front, which all documents see."""
    return replace(documents, prefix_length=documents.prefix_length + number)


def _rounded(number: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-number // unit) * unit
