"""What the probes of kernels share: how far two results are apart, and what a build of others may raise."""

import torch

FOREIGN_ERRORS = (RuntimeError, ValueError, TypeError, ImportError, AttributeError)
"""A kernel that was built for another GPU, another torch or another version of itself says so in any of these."""


def relative_error(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference as a part of the largest number that is expected. NaN differs infinitely."""
    difference = (ours.float() - expected.float()).abs().max() / expected.float().abs().max()
    return difference.nan_to_num(float("inf")).item()


def described(failure: BaseException) -> str:
    """The kind of a failure and the first line of its text."""
    return f"{type(failure).__name__}: {(str(failure).splitlines() or ['without a word'])[0]}"
