"""Sums over ranks, many tensors in one message."""

from collections.abc import Iterator, Sequence

import torch
from torch import distributed

_BUCKET_BYTES = 32 << 20
"""Of one message: large enough for the full speed of the link, small enough for its copy to fit beside the model."""


def sum_tensors(tensors: Sequence[torch.Tensor]) -> None:
    """Replaces each tensor, the same ones on every rank, by its sum over all ranks.

    Every rank gets the same bits: each part is added up once and then handed round.
    """
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def _buckets(tensors: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Neighbours of one dtype and device, up to the size of a message; a larger tensor is alone."""
    bucket: list[torch.Tensor] = []
    num_bytes = 0
    for tensor in tensors:
        alike = not bucket or (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and (not alike or num_bytes + tensor.nbytes > _BUCKET_BYTES):
            yield bucket
            bucket, num_bytes = [], 0
        bucket.append(tensor)
        num_bytes += tensor.nbytes
    if bucket:
        yield bucket
