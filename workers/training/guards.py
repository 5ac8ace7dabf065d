"""Checks against the worst outcome: training that looks well and does nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from luthier.spec import TrainingSpec
from luthier.v1.failure_pb2 import FailureClass
from workers.causes import lacks_memory
from workers.failures import ConfigError, DataError, DivergedError, StageError
from workers.training.packing import Batch
from workers.training.samples import Sample


def check_trainable(
    parameters: Mapping[str, nn.Parameter], lengths: Sequence[int], validation: Sequence[Sample], spec: TrainingSpec
) -> None:
    """Refuses a run that cannot learn. `lengths` are the tokens of each training sample, all its documents together.

    Raises:
        ConfigError: no parameter is trainable, or early stopping has nothing to look at.
        DataError: a sample does not fit into a pack.
    """
    if sum(parameter.numel() for parameter in parameters.values()) == 0:
        raise ConfigError("no parameter is trainable; check method.target_modules")
    assert all(parameter.dtype == torch.float32 for parameter in parameters.values()), "trained weights must be fp32"
    longest = max(lengths)
    if spec.packing and longest > spec.pack_length:
        raise DataError(
            f"a row has {longest} tokens, more than training.pack_length ({spec.pack_length}); raise it or lower "
            f"data.max_length"
        )
    if spec.early_stopping_patience is not None and not validation:
        raise ConfigError("training.early_stopping_patience needs validation rows; add some or leave it out")


def check_finite(step: int, validation_loss: float) -> None:
    """
    Raises:
        DivergedError: the validation loss is NaN or infinite.
    """
    if not math.isfinite(validation_loss):
        raise DivergedError(
            f"training diverged by step {step}: the validation loss is {validation_loss}; lower "
            f"training.learning_rate, raise training.warmup_ratio or lower training.max_grad_norm"
        )


@contextmanager
def fits_into_memory(batch: Batch) -> Iterator[None]:
    """Around a forward pass. Out of memory stays what it is: a later attempt splits the pass into smaller ones.

    Raises:
        StageError: OUT_OF_MEMORY, and there is nothing left to split, because the pass is one sample.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if len(batch.samples) > 1 or not lacks_memory(error):
            raise
        raise StageError(
            FailureClass.FAILURE_CLASS_OUT_OF_MEMORY,
            f"not even one row of {batch.num_tokens} tokens at a time fits into memory; lower data.max_length or "
            f"method.r, take a smaller base_model, or use a worker with more memory ({error})",
        ) from None


def check_learning(norm: float, before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """After the first optimizer step: there was a gradient, and it moved the weights, whose fingerprints are given.

    Raises:
        ConfigError: the run would do nothing.
    """
    if norm == 0.0:
        raise ConfigError("the first gradient is zero: nothing would be learned; check method.target_modules")
    if before == after:
        raise ConfigError("the first step left every weight as it was; raise training.learning_rate")


def fingerprint(parameters: Mapping[str, nn.Parameter]) -> dict[str, float]:
    """One number per parameter that any real update changes: the sum of squares in fp64."""
    return {name: float(parameter.detach().double().square().sum()) for name, parameter in parameters.items()}
