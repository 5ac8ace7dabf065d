"""What the probes of kernels share: how far two results are apart, and what a build of others may raise."""

from importlib.util import find_spec

import torch

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
"""By what part of the largest number of a result two kernels may differ: a few roundings of the dtype."""
_ERRORS = (RuntimeError, ValueError, TypeError, ImportError, AttributeError)


def foreign_errors() -> tuple[type[Exception], ...]:
    """What a kernel says that was built for another GPU, another torch or another version of itself."""
    if not find_spec("triton"):
        return _ERRORS
    from triton.errors import TritonError  # here: torch brings it along for CUDA only

    return (*_ERRORS, TritonError)


def relative_error(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference as a part of the largest number that is expected. NaN differs infinitely."""
    difference = (ours.float() - expected.float()).abs().max() / expected.float().abs().max()
    return difference.nan_to_num(float("inf")).item()


def described(failure: BaseException) -> str:
    """The kind of a failure and the first line of its text."""
    return f"{type(failure).__name__}: {(str(failure).splitlines() or ['without a word'])[0]}"
