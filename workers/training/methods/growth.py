"""How SpIEL finds weights that are worth changing (Ansell et al., 2024, arXiv:2401.16405, section 3).

By accumulated gradient (SpIEL-AG): the weights with the largest gradient in the first backward pass of a period, as
many as are changed, are candidates, and their gradients are added up over the steps of the period. By momentum
(SpIEL-MA): an SM3 estimate (Anil et al., 2019, arXiv:1901.11150) of every weight's second moment, from one number for
each row and column, of which only the gradients of the weights that are changed already are needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from workers.training.methods.sparse import SparseChange

_DECAY = 0.999
"""What stays of an estimated second moment in a step, as with Adam."""


@dataclass(frozen=True)
class Found:
    """Weights of one layer, the most promising first, and what an optimizer would know of them had it watched."""

    positions: torch.Tensor
    """int64 [n], in the flattened weight."""
    mean: torch.Tensor
    """fp32 [n]: of their gradients."""
    square: torch.Tensor
    """fp32 [n]: mean of the squares of their gradients."""


class Growth(Protocol):
    """One way, for one layer."""

    def __init__(self, change: SparseChange) -> None: ...

    def begin(self) -> None:
        """A period of watching begins with the next step."""
        ...

    def collect(self) -> None:
        """The backward passes of a step are done. It may be skipped yet."""
        ...

    def confirm(self, clipped: float) -> None:
        """The step was taken, with gradients that were multiplied by `clipped` first."""
        ...

    def find(self, taken: torch.Tensor, number: int) -> Found:
        """At most `number` weights that are not `taken`, bool [weights]. The period is over."""
        ...

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """Its state, for a checkpoint."""
        ...

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `tensors`."""
        ...


class Accumulated:
    """SpIEL-AG. A candidate that is a change already has its gradient watched too: it may be about to be dropped."""

    def __init__(self, change: SparseChange) -> None:
        self._change = change
        self._candidates: torch.Tensor | None = None
        self._sums = self._squares = torch.zeros_like(change.values.detach())
        self._num_steps = 0
        self._step: tuple[torch.Tensor, torch.Tensor] | None = None
        self._collected: tuple[torch.Tensor, torch.Tensor] | None = None

    def begin(self) -> None:
        """See `Growth`."""
        self._candidates = self._step = self._collected = None
        self._num_steps = 0
        self._change.watch = self._look

    def _look(self, gradient: torch.Tensor) -> None:
        """One backward pass."""
        flat = gradient.flatten()
        if self._step is None:
            candidates = self._candidates
            if candidates is None:
                candidates = flat.abs().topk(len(self._change.values)).indices
            self._step = candidates, flat[candidates].float()
        else:
            candidates, sums = self._step
            self._step = candidates, sums + flat[candidates]

    def collect(self) -> None:
        """See `Growth`."""
        self._collected, self._step = self._step, None

    def confirm(self, clipped: float) -> None:
        """See `Growth`."""
        if self._collected is None:
            return
        candidates, gradients = self._collected
        gradients = gradients * clipped
        if self._candidates is None:
            self._candidates = candidates
            self._sums, self._squares = torch.zeros_like(gradients), torch.zeros_like(gradients)
        self._sums = self._sums + gradients
        self._squares = self._squares + gradients.square()
        self._num_steps += 1

    def find(self, taken: torch.Tensor, number: int) -> Found:
        """See `Growth`."""
        self._change.watch = None
        assert self._candidates is not None, "nothing was watched"
        free = (~taken[self._candidates]).nonzero().flatten()
        best = free[self._sums[free].abs().topk(min(number, len(free))).indices]
        found = Found(self._candidates[best], self._sums[best] / self._num_steps, self._squares[best] / self._num_steps)
        self._candidates = None
        return found

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """int64 `candidates`, fp32 `sums` and `squares` of their gradients, in the middle of a period."""
        watching = torch.tensor([self._change.watch is not None, self._num_steps])
        if self._candidates is None:
            return {"watching": watching}
        return {"watching": watching, "candidates": self._candidates, "sums": self._sums, "squares": self._squares}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """See `Growth`."""
        is_watching, num_steps = tensors["watching"].tolist()
        self.begin()
        if not is_watching:
            self._change.watch = None
        self._num_steps = num_steps
        if "candidates" in tensors:
            device = self._change.values.device
            self._candidates = tensors["candidates"].to(device, copy=True)
            self._sums, self._squares = (tensors[name].to(device, copy=True) for name in ("sums", "squares"))


class Estimated:
    """SpIEL-MA: the second moment of the gradient of weight (i, j) is at most the smaller of what row i and column j
    say, and the product of the two is what weights are ranked by."""

    def __init__(self, change: SparseChange) -> None:
        self._change = change
        num_rows, num_columns = change.shape
        self._rows = change.values.new_zeros(num_rows).detach()
        self._columns = change.values.new_zeros(num_columns).detach()
        self._num_steps = 0

    def begin(self) -> None:
        """See `Growth`: it watches all the time."""

    def collect(self) -> None:
        """See `Growth`: the gradients are still there when the step was taken."""

    def confirm(self, clipped: float) -> None:
        """See `Growth`. SM3-II with a decay, which forgets as Adam does."""
        gradient = self._change.values.grad
        assert gradient is not None
        rows, columns = self._split(self._change.positions)
        moments = _DECAY * self._bound(rows, columns) + (1 - _DECAY) * gradient.square()
        self._rows.scatter_reduce_(0, rows, moments, reduce="amax", include_self=False)
        self._columns.scatter_reduce_(0, columns, moments, reduce="amax", include_self=False)
        self._num_steps += 1

    def find(self, taken: torch.Tensor, number: int) -> Found:
        """See `Growth`."""
        scores = torch.outer(self._rows, self._columns).flatten().masked_fill_(taken, 0.0)
        best = scores.topk(min(number, len(scores)))
        positions = best.indices[best.values > 0]
        square = self._bound(*self._split(positions)) / (1 - _DECAY**self._num_steps)
        return Found(positions, torch.zeros_like(square), square)

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """fp32 `rows` [outputs] and `columns` [inputs], int64 `num_steps`."""
        return {"rows": self._rows, "columns": self._columns, "num_steps": torch.tensor(self._num_steps)}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """See `Growth`."""
        device = self._change.values.device
        self._rows, self._columns = (tensors[name].to(device, copy=True) for name in ("rows", "columns"))
        self._num_steps = int(tensors["num_steps"])

    def _split(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and columns of the weights at `positions`."""
        num_columns = len(self._columns)
        return positions // num_columns, positions % num_columns

    def _bound(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return torch.minimum(self._rows[rows], self._columns[columns])
