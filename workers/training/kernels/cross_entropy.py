"""Cross-entropy of every target, on a CPU without a copy of the logits in fp32.

PyTorch makes three tensors of their size in fp32 on the way to the gradient. With a large vocabulary these are most of
the memory of a pass, fresh from the system each time, and filling them takes longer than the arithmetic. Here some rows
at a time go through the processor's cache in fp32, forwards and backwards, and the gradient takes the logits' place.
The numbers are the same up to the order of sums. On other devices it is PyTorch's own.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

_NUM_ELEMENTS = 1 << 18  # fp32 numbers at a time: 1 MiB


def target_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of each target in nats, computed in fp32.

    Args:
        logits: [N, V] of any dtype. The backward pass may write over them, so nobody else may need them then; autograd
            raises a RuntimeError where somebody does, and in a second backward pass.
        targets: int64 [N], from 0 to V - 1.

    Returns:
        fp32 [N]
    """
    if logits.device.type == "cpu":
        losses: torch.Tensor = _ByRows.apply(logits, targets)  # type: ignore[no-untyped-call]
        return losses
    return functional.cross_entropy(logits.float(), targets, reduction="none")


class _ByRows(torch.autograd.Function):
    """Logits [N, V], targets [N] -> fp32 [N]."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        losses = torch.empty(targets.shape, dtype=torch.float32)
        with torch.autocast("cpu", enabled=False):
            for some, own, out in _parts(logits, targets, losses):
                out.copy_(functional.cross_entropy(some.float(), own, reduction="none"))
        ctx.save_for_backward(logits, targets)
        return losses

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        logits, targets = ctx.saved_tensors
        for some, own, each in _parts(logits, targets, gradient):
            difference = some.softmax(-1, dtype=torch.float32)
            difference.scatter_add_(1, own[:, None], difference.new_full((len(own), 1), -1.0))
            some.copy_(difference.mul_(each[:, None]))
        return logits, None


def _parts(
    logits: torch.Tensor, targets: torch.Tensor, values: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The same rows of each, views."""
    num_rows = max(1, _NUM_ELEMENTS // logits.shape[1])
    return zip(*(torch.split(each, num_rows) for each in (logits, targets, values)), strict=True)
